import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSync } from '@swc/core'

/** One small fault: the bytes from `start` to `end` of a file, and what stands there instead. */
export interface Mutant {
  id: string
  file: string
  line: number
  kind: string
  start: number
  end: number
  original: string
  replacement: string
}

interface SyntaxNode {
  type: string
  span: { start: number; end: number }
  [member: string]: unknown
}

interface Fault {
  kind: string
  node: SyntaxNode
  replacement: string
}

const otherOperator: Record<string, string> = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '===': '!==',
  '!==': '===',
  '&&': '||',
  '||': '&&',
  '+': '-',
  '-': '+',
  '*': '/',
  '/': '*',
}

/**
 * Returns the faults that can be planted in the files of some folders, in an order that looks random and depends on the
 * seed. An id depends on the statement around the fault and not on the file's name or the line. So the first 300 are
 * mostly the same faults after code has moved.
 */
export function findMutants(root: string, folders: string[], seed: string): Mutant[] {
  const files = folders.flatMap((folder) => sourceFiles(root, folder))
  return files.flatMap((file) => mutantsOf(root, file, seed)).sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** Returns the first mutants, of which at most a sixth are of one kind: most members and words are documentation. */
export function sampleOf(mutants: Mutant[], count: number): Mutant[] {
  const kinds = new Map<string, number>()
  const isWelcome = ({ kind }: Mutant) => {
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    return (kinds.get(kind) ?? 0) <= count / 6
  }
  return mutants.filter(isWelcome).slice(0, count)
}

/** Returns the text of the mutant's file with the fault in it. */
export function withFault(source: string, { start, end, replacement }: Mutant): string {
  const bytes = Buffer.from(source)
  return Buffer.concat([bytes.subarray(0, start), Buffer.from(replacement), bytes.subarray(end)]).toString()
}

function sourceFiles(root: string, folder: string): string[] {
  try {
    return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /(?<!\.d|\.test)\.(ts|js)$/.test(name))
      .map((name) => `${folder}/${name}`)
      .sort()
  } catch {
    return []
  }
}

function mutantsOf(root: string, file: string, seed: string): Mutant[] {
  const source = readFileSync(join(root, file), 'utf8')
  const bytes = Buffer.from(source)
  const { tree, offset } = parse(source)
  const text = ({ span }: SyntaxNode) => bytes.subarray(span.start - offset, span.end - offset).toString()
  const seen = new Map<string, number>()
  const mutants: Mutant[] = []
  const visit = (node: SyntaxNode, statement: SyntaxNode) => {
    for (const { kind, node: target, replacement } of faultsOf(node, text)) {
      const start = target.span.start - offset
      const key = [seed, kind, text(statement).replace(/\s+/g, ' '), text(target), replacement].join('\n')
      const nth = seen.get(key) ?? 0
      seen.set(key, nth + 1)
      const mutant = {
        id: createHash('sha256').update(`${key}\n${nth}`).digest('hex').slice(0, 16),
        file,
        line: bytes.subarray(0, start).toString().split('\n').length,
        kind,
        start,
        end: target.span.end - offset,
        original: text(target),
        replacement,
      }
      if (isCode(withFault(source, mutant))) mutants.push(mutant)
    }
    for (const child of childrenOf(node)) visit(child, isStatement(child) ? child : statement)
  }
  visit(tree, tree)
  return mutants
}

/** What can be wrong at one node: a condition turned round, a limit off by one, something left out. */
function faultsOf(node: SyntaxNode, text: (node: SyntaxNode) => string): Fault[] {
  const at = (name: string) => node[name] as SyntaxNode
  const instead = (kind: string, replacement: string, target = node): Fault[] => [
    { kind, node: target, replacement },
  ]
  switch (node.type) {
    case 'IfStatement':
    case 'ConditionalExpression':
    case 'WhileStatement':
      return instead('condition negated', `!(${text(at('test'))})`, at('test'))
    case 'BinaryExpression': {
      const operator = String(node.operator)
      const left = text(at('left'))
      const right = text(at('right'))
      if (operator === '??') return instead('default left out', left)
      const other = otherOperator[operator]
      return other ? instead(`${operator} to ${other}`, `(${left} ${other} ${right})`) : []
    }
    case 'UnaryExpression':
      return node.operator === '!' ? instead('negation left out', `(${text(at('argument'))})`) : []
    case 'ExpressionStatement':
      return instead('statement left out', ';')
    case 'ThrowStatement':
      return instead('throw left out', '{}')
    case 'AwaitExpression':
      return instead('await left out', `(${text(at('argument'))})`)
    case 'ReturnStatement':
      return node.argument
        ? instead('undefined returned', 'return undefined')
        : instead('return left out', '{}')
    case 'ArrowFunctionExpression':
      return at('body').type === 'BlockStatement'
        ? []
        : instead('undefined returned', 'undefined', at('body'))
    case 'BooleanLiteral':
      return instead('boolean', node.value ? 'false' : 'true')
    case 'NumericLiteral':
      return instead('number', String(Number(node.value) + 1))
    case 'StringLiteral':
      return /^[\w-]{1,40}$/.test(String(node.value)) ? instead('word', "'mutated'") : []
    case 'TaggedTemplateExpression':
      return instead('SQL left out', '``', at('template'))
    case 'ObjectExpression':
      return listFaults('member left out', node.properties as SyntaxNode[])
    case 'ArrayExpression':
      return (node.elements as unknown[]).length > 0 ? instead('empty list', '[]') : []
    case 'CallExpression':
      return /^(and|or)$/.test(text(at('callee')))
        ? (node.arguments as { expression: SyntaxNode }[]).flatMap(({ expression }) =>
            instead('SQL condition left out', 'undefined', expression),
          )
        : []
    default:
      return []
  }

  function listFaults(kind: string, members: SyntaxNode[]): Fault[] {
    return members.map((member) => ({ kind, node: withSpan(member, text), replacement: '...{}' }))
  }
}

/** A spread, a shorthand or a pair: some of them have no span of their own. */
function withSpan(member: SyntaxNode, _text: (node: SyntaxNode) => string): SyntaxNode {
  if (member.span) return member
  const [first, last] = [member.spread ?? member.key, member.arguments ?? member.value] as SyntaxNode[]
  const start = (member.spread ? (member.spread as SyntaxNode['span']) : first?.span)?.start ?? 0
  return { type: member.type, span: { start, end: last?.span.end ?? 0 } }
}

const isStatement = ({ type }: SyntaxNode) =>
  /Statement$|^VariableDeclaration$/.test(type) && type !== 'BlockStatement'

/** The nodes below one, but for types, import lines and the names of members. */
function childrenOf(node: SyntaxNode): SyntaxNode[] {
  return Object.entries(node).flatMap(([name, child]) => {
    if (name === 'key' && (child as SyntaxNode)?.type !== 'Computed') return []
    return nodesIn(child)
  })
}

function nodesIn(value: unknown): SyntaxNode[] {
  if (Array.isArray(value)) return value.flatMap(nodesIn)
  if (typeof value !== 'object' || value === null) return []
  const node = value as SyntaxNode
  if (/^(Import|Export(All|Named))|^Ts(?!(As|Satisfies|NonNull|Const)).*/.test(node.type ?? '')) return []
  return node.type ? [node] : Object.values(node).flatMap(nodesIn)
}

/** swc counts positions from where its last parse ended. The semicolon in front shows where that was. */
function parse(source: string): { tree: SyntaxNode; offset: number } {
  const tree = parseSync(`;${source.replace(/^#!/, '//')}`, { syntax: 'typescript', target: 'es2023' })
  return { tree: tree as unknown as SyntaxNode, offset: (tree.body[0]?.span.start ?? 0) + 1 }
}

function isCode(source: string): boolean {
  try {
    parse(source)
    return true
  } catch {
    return false
  }
}

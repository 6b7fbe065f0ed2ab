// The first that matches counts: most browsers also call themselves what they are not.
const patterns: [name: string, version: RegExp][] = [
  ['Edge', /\bEdg(?:A|iOS)?\/(\d+)/],
  ['Opera', /\bOPR\/(\d+)/],
  ['Samsung Internet', /\bSamsungBrowser\/(\d+)/],
  ['Firefox', /\b(?:Firefox|FxiOS)\/(\d+)/],
  ['Chrome', /(?:Chrome|CriOS)\/(\d+)/],
  ['Safari', /\bVersion\/(\d{1,4}(?:\.\d{1,4})?)(?:[. ].*)? Safari\//],
]

/** Returns how people call a browser, with its version, from its User-Agent header. `Another client` if it is not known. */
export function browserName(userAgent: string | null): string {
  for (const [name, pattern] of patterns) {
    const [, version] = pattern.exec(userAgent ?? '') ?? []
    if (version) return `${name} ${version}`
  }
  return 'Another client'
}

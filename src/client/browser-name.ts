// The first match counts, because most browsers also name other browsers.
const patterns: [name: string, version: RegExp][] = [
  ['Edge', /\bEdg(?:A|iOS)?\/(\d+)/],
  ['Opera', /\bOPR\/(\d+)/],
  ['Samsung Internet', /\bSamsungBrowser\/(\d+)/],
  ['Firefox', /\b(?:Firefox|FxiOS)\/(\d+)/],
  ['Chrome', /(?:Chrome|CriOS)\/(\d+)/],
  ['Safari', /\bVersion\/(\d{1,4}(?:\.\d{1,4})?)(?:[. ].*)? Safari\//],
]

/** Returns the name and version of a browser from its User-Agent header, or `Another client` if it is not known. */
export function browserName(userAgent: string | null): string {
  for (const [name, pattern] of patterns) {
    const [, version] = pattern.exec(userAgent ?? '') ?? []
    if (version) return `${name} ${version}`
  }
  return 'Another client'
}

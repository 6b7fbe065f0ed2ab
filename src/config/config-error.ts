/** The exit code of a process after a ConfigError: EX_CONFIG of sysexits.h. */
export const exitConfig = 78

/** Invalid settings or secrets. Each problem is one line: `NAME: what is wrong. What to do.` */
export class ConfigError extends Error {
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

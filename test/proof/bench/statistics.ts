export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

export const median = (values: readonly number[]) => quantile(values, 0.5)

/** Returns the probability that a sample of `a` is larger than one of `b` (Mann and Whitney). Equal ones count half. */
export const longerThan = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, x) => sum + b.filter((y) => x > y).length + b.filter((y) => x === y).length / 2, 0) /
  (a.length * b.length)

import type { Link, LinkStore } from '../store/links.ts'
import type { LinkPurpose } from '../store/schema.ts'
import type { LinkTokens } from './link-token.ts'

/** Finds the rows of links by the tokens that clients present. */
export function createOpenLink({ linkTokens, links }: { linkTokens: LinkTokens; links: LinkStore }) {
  /**
   * Returns the live link of a token, without using it. Every text that is no such token takes the same time, and has
   * the same result.
   * @returns undefined if the token is not good now
   * @throws AuthError `unavailable`
   */
  return async function openLink(token: string, purpose: LinkPurpose): Promise<Link | undefined> {
    return links.find(await linkTokens.verify(token, purpose), purpose)
  }
}

export type OpenLink = ReturnType<typeof createOpenLink>

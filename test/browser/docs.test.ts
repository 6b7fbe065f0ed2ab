// The page at `/docs`, as the server serves it, in Chromium.
import { expect, test } from '@jest/globals'
import { eventually, inBrowser, useStage } from './browser.ts'

inBrowser('/docs', () => {
  const stage = useStage({})

  test('follows the color scheme of the system, also while it is open', async () => {
    const page = await stage.context.newPage()
    const faults: string[] = []
    page.on('pageerror', ({ message }) => faults.push(message))
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()))

    await page.emulateMedia({ colorScheme: 'dark' })
    await page.goto(`${stage.gate.url}/docs`)
    await page.getByText('/auth/login').first().waitFor()
    const looks = () =>
      page.evaluate(() => {
        const [background, text] = [
          document.documentElement,
          document.querySelector('.swagger-ui .opblock-summary-path'),
        ]
        const brightness = (color: string) =>
          (color.match(/\d+/g) ?? []).slice(0, 3).reduce((sum, part) => sum + Number(part) / 765, 0)
        return {
          background: brightness(getComputedStyle(background).backgroundColor),
          text: brightness(getComputedStyle(text ?? background).color),
        }
      })
    const dark = await looks()
    await page.emulateMedia({ colorScheme: 'light' })
    // The page hears of it a frame later.
    await eventually(async () => (await looks()).text < 0.4)
    await page.close()

    expect(dark.background).toBeLessThan(0.2)
    expect(dark.text).toBeGreaterThan(0.6)
    expect(faults).toEqual([])
  })
})

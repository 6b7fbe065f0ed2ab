// The page at `/docs`.
import { expect, test } from '@jest/globals'
import { eventually, inBrowser, useStage } from './browser.ts'
import { engine } from './engine.ts'

inBrowser('/docs', () => {
  const stage = useStage({})

  test('follows the color scheme of the system, also if it changes while the page is open', async () => {
    const page = await stage.context.newPage()
    const faults: string[] = []
    page.on('pageerror', ({ message }) => faults.push(message))
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()))

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
          scheme: matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light',
          background: brightness(getComputedStyle(background).backgroundColor),
          text: brightness(getComputedStyle(text ?? background).color),
        }
      })
    // Only the driver of Chromium can set the scheme. In other browsers the page follows their own.
    const schemes = engine === 'chromium' ? (['dark', 'light', 'dark'] as const) : [(await looks()).scheme]
    for (const colorScheme of schemes) {
      if (engine === 'chromium') await page.emulateMedia({ colorScheme: colorScheme as 'dark' | 'light' })
      // The page gets the event a frame later.
      await eventually(async () => {
        const { scheme, background, text } = await looks()
        return scheme === colorScheme && (scheme === 'dark' ? background < 0.2 && text > 0.6 : text < 0.4)
      })
    }
    await page.close()

    expect(faults).toEqual([])
  })
})

import { expect, test } from '@jest/globals'
import { browserName } from '../../src/client/browser-name.ts'

const mac = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)'
const phone =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)'
const windows = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)'
const android = 'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko)'

test.each([
  [`${windows} Chrome/138.0.0.0 Safari/537.36`, 'Chrome 138'],
  [`${windows} HeadlessChrome/138.0.0.0 Safari/537.36`, 'Chrome 138'],
  [`${windows} Chrome/138.0.0.0 Safari/537.36 Edg/138.0.3351.65`, 'Edge 138'],
  [`${windows} Chrome/135.0.0.0 Safari/537.36 OPR/120.0.0.0`, 'Opera 120'],
  [`${android} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36`, 'Samsung Internet 28'],
  [`${android} Chrome/138.0.0.0 Mobile Safari/537.36 EdgA/138.0.0.0`, 'Edge 138'],
  [`${mac} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15`, 'Safari 18.5'],
  [`${phone} Version/18.5 Mobile/15E148 Safari/604.1`, 'Safari 18.5'],
  [`${phone} CriOS/138.0.7204.119 Mobile/15E148 Safari/604.1`, 'Chrome 138'],
  [`${phone} FxiOS/140.0 Mobile/15E148 Safari/605.1.15`, 'Firefox 140'],
  [`${phone} EdgiOS/138.0.3351.65 Version/18.0 Mobile/15E148 Safari/604.1`, 'Edge 138'],
  ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox 140'],
  ['curl/8.14.1', 'Another client'],
  ['', 'Another client'],
  [null, 'Another client'],
])('names the browser of %s', (userAgent, name) => {
  expect(browserName(userAgent)).toBe(name)
})

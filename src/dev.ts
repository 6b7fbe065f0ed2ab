// What `npm run dev` starts: the server of main.ts, with development's settings and secrets of its own.
import './secrets/cli/dev-env.ts'

process.env.NODE_ENV ||= 'development'
await import('./main.ts')

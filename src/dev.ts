// `npm run dev` starts this. It makes .env with secrets, then starts the server in development.
import './secrets/cli/dev-env.ts'

process.env.NODE_ENV ||= 'development'
await import('./main.ts')

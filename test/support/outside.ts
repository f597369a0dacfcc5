/** What a program sees in a shell of a user's own, without what this npm run and these tests have set. */
export function outsideEnvironment(): Record<string, string> {
  const env = Object.entries(process.env).filter(([name]) => !/^(npm_(?!config_reg)|INIT_CWD|NODE_TEST)/.test(name))
  const path = (process.env.PATH ?? '').split(':').filter((entry) => !entry.includes('node_modules'))
  return { ...(Object.fromEntries(env) as Record<string, string>), PATH: path.join(':') }
}

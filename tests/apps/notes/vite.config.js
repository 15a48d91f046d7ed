// As Vite's documentation has it, for APIs on another port: PROXY says which.
const target = process.env.PROXY
const rewrite = path => path.replace(/^\/api/, '')

export default {
  server: { proxy: target ? { '/api': { target, ws: true, rewrite } } : {} },
}

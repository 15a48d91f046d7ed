// The well-known Node design: http-proxy, with the cookie's value put into the header on the way.
const httpProxy = require('http-proxy')

const target = process.env.API_URL
const agent = new (require('http').Agent)({ keepAlive: true })
const proxy = httpProxy.createProxyServer({ target, agent })

module.exports = (request, response) => {
  const cookie = /(?:^|;\s*)auth-token=([^;]*)/.exec(request.headers.cookie ?? '')
  delete request.headers.cookie
  if (cookie) request.headers['auth-token'] = decodeURIComponent(cookie[1])
  request.url = request.url.replace(/^\/api/, '')
  return new Promise((done) => {
    response.once('close', done)
    proxy.web(request, response, {}, (error) => {
      response.statusCode = 502
      response.end(String(error))
    })
  })
}

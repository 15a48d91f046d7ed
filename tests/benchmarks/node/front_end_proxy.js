// The well-known Node design before a front end: http-proxy, its connections kept alive.
const http = require('http')
const target = process.env.API_URL
const agent = new http.Agent({ keepAlive: true })
const proxy = require('http-proxy').createProxyServer({ target, agent })
proxy.on('error', (error, request, response) => response.destroy())
const server = http.createServer((request, response) => proxy.web(request, response))
server.on('upgrade', (request, socket, head) => proxy.ws(request, socket, head))
server.listen(Number(process.env.PORT), '127.0.0.1')

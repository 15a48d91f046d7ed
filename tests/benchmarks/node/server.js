const translate = require('./translate')

require('http').createServer(translate).listen(Number(process.env.PORT), '127.0.0.1')

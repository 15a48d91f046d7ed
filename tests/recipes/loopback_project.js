// A LoopBack application with @loopback/authentication-jwt, as its own documentation has it, but in
// JavaScript, so that decorators are called.
const { inject } = require('@loopback/core')
const { RepositoryMixin, juggler } = require('@loopback/repository')
const { RestApplication, get, post, requestBody } = require('@loopback/rest')
const { AuthenticationComponent, authenticate } = require('@loopback/authentication')
const jwt = require('@loopback/authentication-jwt')
const { SecurityBindings, securityId } = require('@loopback/security')
const { hash } = require('bcryptjs')

class UserController {
  constructor(tokens, users, user) {
    Object.assign(this, { tokens, users, user })
  }

  async login(credentials) {
    const user = await this.users.verifyCredentials(credentials)
    return { token: await this.tokens.generateToken(this.users.convertToUserProfile(user)) }
  }

  async whoAmI() {
    return { id: this.user[securityId] }
  }
}

const bindings = [
  inject(jwt.TokenServiceBindings.TOKEN_SERVICE),
  inject(jwt.UserServiceBindings.USER_SERVICE),
  inject(SecurityBindings.USER, { optional: true }),
]
bindings.forEach((decorate, index) => decorate(UserController, undefined, index))
const methods = {
  login: [post('/users/login')],
  whoAmI: [get('/whoAmI'), authenticate('jwt')],
}
for (const [name, decorators] of Object.entries(methods)) {
  const descriptor = Object.getOwnPropertyDescriptor(UserController.prototype, name)
  decorators.forEach((decorate) => decorate(UserController.prototype, name, descriptor))
}
requestBody()(UserController.prototype, 'login', 0)

async function main() {
  const rest = { host: '127.0.0.1', port: process.argv[2] }
  const app = new (RepositoryMixin(RestApplication))({ rest })
  app.component(AuthenticationComponent)
  app.component(jwt.JWTAuthenticationComponent)
  const memory = new juggler.DataSource({ name: 'db', connector: 'memory' })
  app.dataSource(memory, jwt.UserServiceBindings.DATASOURCE_NAME)
  app.controller(UserController)
  const users = await app.get(jwt.UserServiceBindings.USER_REPOSITORY)
  const user = await users.create({ id: '1', email: 'ada@example.com', username: 'ada' })
  await users.userCredentials(user.id).create({ password: await hash('correct horse', 4) })
  await app.start()
}

main()

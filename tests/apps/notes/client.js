// The API, as many apps write it: tokens in localStorage, a bearer header, a refresh when there is
// a 401. Nothing here knows of a proxy. VITE_API is where the API is.

const API = import.meta.env.VITE_API
const KEY = 'notes.session'

export const session = () => JSON.parse(localStorage.getItem(KEY))

function keep({ access_token, refresh_token }) {
  localStorage.setItem(KEY, JSON.stringify({ access_token, refresh_token }))
}

// What the token says of its user: RFC 7519's claims, read without checking the signature.
export function claims() {
  const [, payload] = session().access_token.split('.')
  return JSON.parse(atob(payload.replace(/-/g, '+').replace(/_/g, '/')))
}

function post(path, body, headers = {}) {
  return fetch(API + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    credentials: 'include',
  })
}

export async function signIn(email, password) {
  const answer = await post('/auth/sign-in', { email, password })
  if (answer.ok) keep(await answer.json())
  return answer.ok
}

export async function signOut() {
  const { access_token, refresh_token } = session()
  await post('/auth/logout', { refresh_token }, { authorization: `Bearer ${access_token}` })
  localStorage.removeItem(KEY)
}

async function refresh() {
  const { refresh_token } = session()
  const answer = await post('/auth/refresh', { refresh_token })
  if (answer.ok) keep(await answer.json())
  return answer.ok
}

export async function call(path, options = {}) {
  const send = () => fetch(API + path, {
    ...options,
    headers: { ...options.headers, authorization: `Bearer ${session().access_token}` },
    credentials: 'include',
  })
  const answer = await send()
  return answer.status === 401 && await refresh() ? send() : answer
}

export const events = () => new EventSource(
  `${API}/events?access_token=${encodeURIComponent(session().access_token)}`,
  { withCredentials: true },
)

export function live() {
  const url = new URL(`${API}/live`, location.href)
  url.protocol = url.protocol.replace('http', 'ws')
  const socket = new WebSocket(url)
  socket.onopen = () => socket.send(
    JSON.stringify({ type: 'auth', token: session().access_token }),
  )
  return socket
}

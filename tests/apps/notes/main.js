import { call, claims, events, live, session, signIn, signOut } from './client.js'

const $ = selector => document.querySelector(selector)
const last = text => { $('#last').textContent = text }

let open = []
function hangUp() {
  open.forEach(connection => connection.close())
  open = []
}

function show() {
  const signedIn = session() !== null
  $('#who').textContent = signedIn ? `Signed in as ${claims().name}` : 'Not signed in'
  $('#sign-in').hidden = signedIn
  $('main').hidden = !signedIn
  return signedIn
}

async function load() {
  $('#notes').replaceChildren()
  const answer = await call('/notes')
  last(answer.status)
  if (!answer.ok) return
  $('#notes').replaceChildren(...(await answer.json()).map(
    text => Object.assign(document.createElement('li'), { textContent: text }),
  ))
}

$('#sign-in').onsubmit = async event => {
  event.preventDefault()
  const { email, password } = Object.fromEntries(new FormData(event.target))
  if (!await signIn(email, password)) $('#who').textContent = 'Refused'
  else if (show()) await load()
}

$('#reload').onclick = load

$('#many').onclick = async () => {
  last('…')
  const answers = await Promise.all([1, 2, 3, 4, 5].map(() => call('/notes')))
  last(answers.map(answer => answer.status).join(' '))
}

// 3 MB that are not all the same, there and back.
$('#transfer').onclick = async () => {
  last('…')
  const sent = Uint8Array.from({ length: 3_000_000 }, (_, index) => (index * index) >> 7)
  const body = new FormData()
  body.append('file', new File([sent], 'numbers.bin'))
  const { id } = await (await call('/files', { method: 'POST', body })).json()
  const got = new Uint8Array(await (await call(`/files/${id}`)).arrayBuffer())
  last(got.length === sent.length && got.every((byte, index) => byte === sent[index])
    ? 'the same' : 'another')
}

$('#listen').onclick = () => {
  hangUp()
  const source = events()
  source.onmessage = event => { $('#events').textContent = `event ${event.data}` }
  source.onerror = () => { $('#events').textContent = 'none' }
  const socket = live()
  socket.onmessage = event => {
    const { type, name, text } = JSON.parse(event.data)
    if (type === 'auth_ok') socket.send(JSON.stringify({ type: 'say', text: `hello ${name}` }))
    $('#live').textContent = text ?? type
  }
  socket.onclose = () => { $('#live').textContent += ', closed' }
  open = [source, socket]
}

$('#sign-out').onclick = async () => {
  hangUp()
  await signOut()
  show()
}

if (show()) await load()

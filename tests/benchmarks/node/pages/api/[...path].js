import translate from '../../translate'

export const config = { api: { bodyParser: false, externalResolver: true } }

export default translate

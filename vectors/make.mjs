// Writes the conformance vectors: `node vectors/make.mjs`. Knows the vendors' documentation and JavaScript; refuses
// to know anything of postcall's code. See README.md for the format.

import { createHmac, createPrivateKey, sign as signEd25519 } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const DIALECTS = ['voicegenie', 'cllr', 'dialgen', 'aloro', 'air', 'standard'];
const NOW = '2025-11-15T16:30:00Z';

for (const dialect of DIALECTS) {
  mkdirSync(join(HERE, dialect), { recursive: true });
  for (const file of readdirSync(join(HERE, dialect))) rmSync(join(HERE, dialect, file));
}

// A value that goes into a vector as this very text, digits and half emoji included.
class Verbatim {
  constructor(text) { this.text = text; }
}
const verbatim = (text) => new Verbatim(text);

const print = (value, indent = '') => {
  if (value instanceof Verbatim) return value.text;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const deeper = `${indent}  `;
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  const members = Array.isArray(value)
    ? value.map((element) => print(element, deeper))
    : Object.entries(value).filter(([, v]) => v !== undefined).map(([k, v]) => `${JSON.stringify(k)}: ${print(v, deeper)}`);
  if (members.length === 0) return open + close;
  return `${open}\n${members.map((member) => deeper + member).join(',\n')}\n${indent}${close}`;
};

const write = (dialect, name, why, direction, rest) =>
  writeFileSync(join(HERE, dialect, `${name}.json`), `${print({ name, why, direction, ...rest })}\n`);
const comesIn = (dialect, name, why, rest) => write(dialect, `in_${name}`, why, 'in', rest);
const goesOut = (dialect, name, why, rest) => write(dialect, `out_${name}`, why, 'out', rest);

const hmacHex = (secret, text) => createHmac('sha256', secret).update(text).digest('hex');
const js = (text) => JSON.stringify(JSON.parse(text));
const ended = (call, at, outcome = 'completed') => ({ step: 'ended', outcome, at, call });

// Standard Webhooks, as its specification defines the signed content.
const v1 = (secret, id, timestamp, body) => {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : secret;
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
};
const v1a = (seed, id, timestamp, body) => {
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  return `v1a,${signEd25519(null, Buffer.from(`${id}.${timestamp}.${body}`), key).toString('base64')}`;
};
const epoch = (time) => String(Date.parse(time) / 1000);

// ------------------------------------------------------------------------------------------------------------------
// The bodies that the documentation prints, character for character, and what they say.

const VOICEGENIE_EXAMPLE = `{
  "call_uuid": "call-uuid-abc123",
  "event": "call_ended",
  "campaign_id": "507f1f77bcf86cd799439013",
  "phone_number": "+919876543210",
  "call_data": {
    "duration": 245,
    "recording_url": "https://voicegenie-recordings.s3.amazonaws.com/recordings/2024/call-uuid-abc123.mp3",
    "transcript": [
      {
        "timestamp": "2024-01-16T10:30:15Z",
        "role": "assistant",
        "content": "Hi, I'm Alex from VoiceGenie."
      },
      {
        "timestamp": "2024-01-16T10:30:22Z",
        "role": "user",
        "content": "Hello"
      }
    ],
    "outcome": "completed",
    "sentiment": {
      "overall": "positive",
      "confidence": 0.87
    },
    "custom_data": {
      "lead_score": 85,
      "interest_level": "high"
    }
  },
  "timestamp": "2024-01-16T10:35:00Z"
}`;

const CLLR_EXAMPLE = `{
"callId": "693bff62619c51fac21acf50",
"recordingUri": "https://storage.example.com/recordings/693bff62619c51fac21acf50/call_recording.ogg",
"transcriptUri": "https://storage.example.com/transcripts/transcript_693bff62619c51fac21acf50.json",
"callerDetails": {
"name": "John Smith",
"phoneNumber": "+1-555-123-4567",
"email": "john.smith@example.com",
"scheduledTime": "2025-01-20T10:00:00Z",
"address": "123 Main Street",
"city": "New York",
"state": "NY",
"country": "USA",
"language": "English"
},
"callAnalysis": {
"summary": "Customer called to schedule a product demo...",
"mood": "Positive",
"score": 85,
"callOutcome": "Demo Scheduled",
"classification": "Sales Inquiry"
}
}`;

// The seed abbreviates "transcription", "recordingUrl" and "metricSchema" with dots; they are filled in here.
const DIALGEN_EXAMPLE = `{
"success": true,
"callData": {
"id": "call_123",
"contactId": "contact_456",
"agentId": "agent_789",
"batchId": "batch_abc",
"status": "COMPLETED",
"startTime": "2025-11-15T14:30:00.000Z",
"endTime": "2025-11-15T14:33:00.000Z",
"duration": 180,
"phoneNumber": "+1234567890",
"contactName": "John Doe",
"transcription": [
{"role": "assistant", "content": "Hello!", "timestamp": "2025-11-15T14:30:01.500Z"},
{"role": "user", "content": "Hi. What does it cost?", "timestamp": "2025-11-15T14:30:04.000Z"}
],
"recordingUrl": "https://recordings.dialgen.ai/call_123.mp3",
"summary": "Call summary text...",
"metricJson": {
"intent": "SALES_INQUIRY",
"sentiment": "positive",
"confidence": 0.95
}
},
"metricSchema": {"intent": {"type": "string"}}
}`;

const ALORO_EXAMPLE = `{
  "event": "call.ended",
  "timestamp": "2024-03-15T14:30:00Z",
  "data": {
    "call": {
      "id": "call_abc123",
      "phone": "+1234567890",
      "direction": "inbound",
      "status": "completed",
      "duration": 180,
      "started_at": "2024-03-15T14:27:00Z",
      "ended_at": "2024-03-15T14:30:00Z"
    },
    "assistant": {
      "id": "asst_xyz789",
      "name": "Customer Support"
    },
    "phone_number": {
      "id": "pn_456",
      "number": "+0987654321"
    },
    "campaign": {
      "id": "camp_123",
      "name": "March Outreach"
    },
    "variables": {
      "status": true,
      "summary": "Customer inquired about order status",
      "order_id": "ORD-12345",
      "issue_resolved": true,
      "customer_satisfied": true
    },
    "transcript": {
      "formatted": "AI: Hello! How can I help you today?\\nCustomer: I need to check my order status...",
      "timestamped": [
        {
          "speaker": "ai",
          "text": "Hello! How can I help you today?",
          "timestamp": "00:00"
        },
        {
          "speaker": "customer",
          "text": "I need to check my order status",
          "timestamp": "00:03"
        }
      ]
    },
    "recording": {
      "url": "https://storage.aloro.ai/recordings/call_abc123.mp3",
      "duration": 180
    },
    "cost": {
      "total": 0.45,
      "breakdown": {
        "voice": 0.30,
        "transcription": 0.10,
        "recording": 0.05
      }
    }
  }
}`;

const AIR_EXAMPLE = String.raw`{"call":{"sid":"CA1234567890abcdef1234567890abcdef","llmAnsweredBy":"human","promptId":25673,"callRecordingUrl":"https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1","fromNumber":"+15550001111","toNumber":"+15550002222","direction":"outbound-api","duration":44,"campaignId":null,"cachedLeadName":"Tyler","transcript":"BOT: ~ \"Hey, Tyler!\nIt is me.\"\nHUMAN:  how's it going\nBOT: Great","createdAt":"2023-12-31 23:12:05.62705+00","leadData":{"crm_id":42,"tags":["a","b"]}},"headers":{}}`;

const STANDARD_EXAMPLE = String.raw`{"type":"call.ended","timestamp":"2024-05-01T12:03:00.25Z","data":{"call_id":"9007199254740993","stage":"ended","outcome":"completed","direction":"outbound","answered_by":"human","created_at":"2024-05-01T11:59:50Z","started_at":"2024-05-01T12:00:00Z","ended_at":"2024-05-01T12:03:00Z","duration_seconds":180,"contact":{"id":"c1","name":"Zoë \ud83d","phone":"+4930123456","email":"zoe@example.com","details":{"city":"Berlin"}},"line":{"id":"pn_1","number":"+4940123456"},"agent":{"id":"agent_1","name":"Nora"},"campaign":{"id":"camp_1","name":"Spring"},"recording":{"url":"https://example.com/r.mp3","duration_seconds":178.5},"transcript":{"turns":[{"role":"assistant","text":"Guten Tag!\nHier ist Nora.","at":"2024-05-01T12:00:01Z"},{"role":"user","text":"Hallo","at":"2024-05-01T12:01:05Z"}]},"analysis":{"summary":"A friendly call","success":false,"sentiment":"neutral","sentiment_confidence":0.5,"score":70,"classification":"Support","action_items":["call back"]},"cost":{"total":1.25,"breakdown":{"voice":1.25}},"variables":{"order":"A-1","10":"ten","2":"two"}}}`;

// What each of the six bodies says, as the `data` of an event: by hand, from the table of fields in the documentation.
const RICH = {
  voicegenie: {
    body: VOICEGENIE_EXAMPLE,
    at: '2024-01-16T10:35:00Z',
    data: String.raw`{"call_id":"call-uuid-abc123","stage":"ended","outcome":"completed","duration_seconds":245,"contact":{"phone":"+919876543210"},"campaign":{"id":"507f1f77bcf86cd799439013"},"recording":{"url":"https://voicegenie-recordings.s3.amazonaws.com/recordings/2024/call-uuid-abc123.mp3"},"transcript":{"turns":[{"role":"assistant","text":"Hi, I'm Alex from VoiceGenie.","at":"2024-01-16T10:30:15Z"},{"role":"user","text":"Hello","at":"2024-01-16T10:30:22Z"}]},"analysis":{"sentiment":"positive","sentiment_confidence":0.87},"variables":{"lead_score":85,"interest_level":"high"}}`,
  },
  cllr: {
    body: CLLR_EXAMPLE,
    at: null,
    data: String.raw`{"call_id":"693bff62619c51fac21acf50","stage":"ended","outcome":"completed","contact":{"name":"John Smith","phone":"+15551234567","email":"john.smith@example.com","details":{"scheduledTime":"2025-01-20T10:00:00Z","address":"123 Main Street","city":"New York","state":"NY","country":"USA","language":"English"}},"recording":{"url":"https://storage.example.com/recordings/693bff62619c51fac21acf50/call_recording.ogg"},"transcript":{"url":"https://storage.example.com/transcripts/transcript_693bff62619c51fac21acf50.json"},"analysis":{"summary":"Customer called to schedule a product demo...","mood":"Positive","score":85,"classification":"Sales Inquiry","result":"Demo Scheduled"}}`,
  },
  dialgen: {
    body: DIALGEN_EXAMPLE,
    at: '2025-11-15T14:33:00Z',
    data: String.raw`{"call_id":"call_123","stage":"ended","outcome":"completed","batch_id":"batch_abc","started_at":"2025-11-15T14:30:00Z","ended_at":"2025-11-15T14:33:00Z","duration_seconds":180,"contact":{"id":"contact_456","name":"John Doe","phone":"+1234567890"},"agent":{"id":"agent_789"},"recording":{"url":"https://recordings.dialgen.ai/call_123.mp3"},"transcript":{"turns":[{"role":"assistant","text":"Hello!","at":"2025-11-15T14:30:01.5Z"},{"role":"user","text":"Hi. What does it cost?","at":"2025-11-15T14:30:04Z"}]},"analysis":{"summary":"Call summary text...","sentiment":"positive","sentiment_confidence":0.95,"classification":"SALES_INQUIRY"},"metric_schema":{"intent":{"type":"string"}}}`,
  },
  aloro: {
    body: ALORO_EXAMPLE,
    at: '2024-03-15T14:30:00Z',
    // The breakdown keeps its digits; JSON.stringify would not.
    data: String.raw`{"call_id":"call_abc123","stage":"ended","outcome":"completed","direction":"inbound","started_at":"2024-03-15T14:27:00Z","ended_at":"2024-03-15T14:30:00Z","duration_seconds":180,"contact":{"phone":"+1234567890"},"line":{"id":"pn_456","number":"+0987654321"},"agent":{"id":"asst_xyz789","name":"Customer Support"},"campaign":{"id":"camp_123","name":"March Outreach"},"recording":{"url":"https://storage.aloro.ai/recordings/call_abc123.mp3","duration_seconds":180},"transcript":{"text":"AI: Hello! How can I help you today?\nCustomer: I need to check my order status...","turns":[{"role":"assistant","text":"Hello! How can I help you today?","offset_seconds":0},{"role":"user","text":"I need to check my order status","offset_seconds":3}]},"analysis":{"summary":"Customer inquired about order status","success":true},"cost":{"total":0.45,"breakdown":{"voice":0.30,"transcription":0.10,"recording":0.05}},"variables":{"order_id":"ORD-12345","issue_resolved":true,"customer_satisfied":true}}`,
  },
  air: {
    body: AIR_EXAMPLE,
    at: null,
    data: String.raw`{"call_id":"CA1234567890abcdef1234567890abcdef","stage":"ended","outcome":"completed","direction":"outbound","answered_by":"human","created_at":"2023-12-31T23:12:05.62705Z","duration_seconds":44,"contact":{"name":"Tyler","phone":"+15550002222"},"line":{"number":"+15550001111"},"agent":{"id":"25673"},"recording":{"url":"https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1"},"transcript":{"text":"BOT: ~ \"Hey, Tyler!\nIt is me.\"\nHUMAN:  how's it going\nBOT: Great","turns":[{"role":"assistant","text":"~ \"Hey, Tyler!\nIt is me.\""},{"role":"user","text":"how's it going"},{"role":"assistant","text":"Great"}]},"variables":{"crm_id":42,"tags":["a","b"]}}`,
  },
  standard: {
    body: STANDARD_EXAMPLE,
    at: '2024-05-01T12:03:00.25Z',
    data: STANDARD_EXAMPLE.slice(STANDARD_EXAMPLE.indexOf('"data":') + 7, -1),
  },
};

// A call as `reads` wants it: without the stage and the outcome, which are the step's.
const spoken = (data) => verbatim(data.replace(/"stage":"[a-z]*",("outcome":"[a-z_]*",?)?/, '').replace(/,}$/, '}'));

const WHY_RICH = {
  voicegenie: 'Seed 000: the printed example',
  cllr: 'Seed 001: the printed example; the phone number loses its dashes, the analysis its three missing objects',
  dialgen: 'Seed 002: the printed example of onCallComplete',
  aloro: 'Seed 003: the full payload',
  air: 'Seed 004: the full example of its site, with leadData and a turn of two lines',
  standard: 'Our own event: half an emoji, an id past 2^53 and index-like keys are kept as they came',
};
for (const dialect of DIALECTS) {
  const { body, at, data } = RICH[dialect];
  comesIn(dialect, 'example', WHY_RICH[dialect], { body, now: NOW, authentic: true, reads: ended(spoken(data), at) });
}

// ------------------------------------------------------------------------------------------------------------------
// Who may speak: signatures in, as published and in every form that senders write.

const VG_BODY = '{"call_uuid":"call-uuid-abc123","event":"call_ended"}';
const VG_SIGNATURE = 'ca79585bbd7078a46f5c265b503929b01006b298085e26ef83c6506b78e7fc42';
const VG_READS = ended({ call_id: 'call-uuid-abc123' }, null);
const vgSigned = (name, why, header, authentic = true, body = VG_BODY, reads = VG_READS) =>
  comesIn('voicegenie', name, why, {
    headers: header === null ? {} : { 'x-webhook-signature': header }, body, secrets: ['vg_test'], now: NOW, authentic, reads,
  });
vgSigned('signature', 'A computed vector: HMAC-SHA256 in hex over the raw body; no outcome given means completed', VG_SIGNATURE);
vgSigned('signature_upper_case', 'Hex in capitals is the same signature', VG_SIGNATURE.toUpperCase());
vgSigned('signature_prefixed', 'A prefix that names the hash is no harm', `sha256=${VG_SIGNATURE}`);
vgSigned('signature_wrong', 'One digit off', VG_SIGNATURE.replace(/.$/, '3'), 'does not match');
vgSigned('signature_missing', 'A signed source takes nothing unsigned', null, 'X-Webhook-Signature is missing');
vgSigned('signature_short', 'A SHA-1 is not a SHA-256', VG_SIGNATURE.slice(0, 40), 'has 40 hex digits, a SHA-256 has 64');
vgSigned('signature_not_hex', 'Base64 is not hex', 'ynlYW71weKRvXCZbUDkpsBAGsphwhV4m74PGUGt45/xC', 'is not hex');
vgSigned('signature_other_hash', 'Another hash is named', `sha1=${VG_SIGNATURE}`, 'names the hash `sha1`');
vgSigned('signature_reserialised', 'The sender signs JSON.stringify of what it meant and sends it indented',
  hmacHex('vg_test', js(VOICEGENIE_EXAMPLE)), true, VOICEGENIE_EXAMPLE, ended(spoken(RICH.voicegenie.data), RICH.voicegenie.at));
comesIn('voicegenie', 'signature_old_secret', 'While a secret is replaced, both are taken', {
  headers: { 'X-Webhook-Signature': VG_SIGNATURE }, body: VG_BODY, secrets: ['newer', 'vg_test'], now: NOW, authentic: true, reads: VG_READS,
});

const DIALGEN_CURL = `{
"success": true,
"callData": {
"id": "call_test_123",
"status": "COMPLETED",
"duration": 180
}
}`;
const DIALGEN_SIGNATURE = 'dcdf48490d9316b720960d7e6469d31c9652dcc6bf489133759ce16e43977820';
const DIALGEN_READS = ended({ call_id: 'call_test_123', duration_seconds: 180 }, null);
comesIn('dialgen', 'signature', 'A computed vector over the compact form of the curl body', {
  headers: { 'x-dialgen-signature': DIALGEN_SIGNATURE }, body: js(DIALGEN_CURL), secrets: ['dialgen_test'], now: NOW, authentic: true, reads: DIALGEN_READS,
});
comesIn('dialgen', 'signature_reserialised', 'The same signature over the curl body as it is printed: the seed signs JSON.stringify', {
  headers: { 'x-dialgen-signature': DIALGEN_SIGNATURE }, body: DIALGEN_CURL, secrets: ['dialgen_test'], now: NOW, authentic: true, reads: DIALGEN_READS,
});
comesIn('dialgen', 'curl', 'Seed 002: the curl body is an ordinary call, whatever its id looks like', {
  body: DIALGEN_CURL, now: NOW, authentic: true, reads: DIALGEN_READS,
});

const ALORO_SIGNED = '{"event":"call.ended","test":true,"data":{"call":{"id":"test_call_123"}}}';
const ALORO_SIGNATURE = 'c6362a2b5a13bec3ddc64da87c06962ef2e0f6cd55cc5346166a8aa22f5c450b';
for (const [name, value] of [['signature', `sha256=${ALORO_SIGNATURE}`], ['signature_bare', ALORO_SIGNATURE]]) {
  comesIn('aloro', name, 'A computed vector; the seed shows the header with the prefix and verifies without it', {
    headers: { 'X-Aloro-Signature': value, 'X-Aloro-Timestamp': '2020-01-01T00:00:00Z' }, body: ALORO_SIGNED, secrets: ['aloro_test'], now: NOW,
    authentic: true, reads: { test: { step: 'ended', outcome: 'completed', at: null, call: { call_id: 'test_call_123' } } },
  });
}
comesIn('aloro', 'signature_reserialised', '0.30 is signed as 0.3: what JSON.stringify makes of the full payload', {
  headers: { 'X-Aloro-Signature': `sha256=${hmacHex('aloro_test', js(ALORO_EXAMPLE))}` }, body: ALORO_EXAMPLE, secrets: ['aloro_test'], now: NOW,
  authentic: true, reads: ended(spoken(RICH.aloro.data), RICH.aloro.at),
});

const TOKEN = 'fakeTokenGoesHere';
const airBearer = (name, why, authorization, authentic) =>
  comesIn('air', name, why, {
    headers: authorization === null ? {} : { authorization }, body: AIR_EXAMPLE, bearer_token: TOKEN, now: NOW, authentic, reads: ended(spoken(RICH.air.data), null),
  });
airBearer('bearer', 'Seed 004: the placeholder token', `Bearer ${TOKEN}`, true);
airBearer('bearer_lower_case', 'The scheme is case-insensitive (RFC 9110)', `bearer ${TOKEN}`, true);
airBearer('bearer_wrong', 'Another token', `Bearer ${TOKEN}x`, 'does not match');
airBearer('bearer_basic', 'Another scheme', `Basic ${TOKEN}`, 'does not begin with Bearer');
airBearer('bearer_missing', 'No token', null, 'Authorization is missing');

// The vector that Standard Webhooks libraries test with.
const SPEC_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const SPEC_ID = 'msg_p5jXN8AQM9LWM0D4loKWxJek';
const SPEC_BODY = '{"test": 2432232314}';
const SPEC_SIGNATURE = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
// RFC 8032, 7.1, test 1.
const SEED = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
const PUBLIC = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
const WHSK = `whsk_${SEED.toString('base64')}`;
const WHPK = `whpk_${PUBLIC.toString('base64')}`;
const WHSK_LONG = `whsk_${Buffer.concat([SEED, PUBLIC]).toString('base64')}`;
const SPEC_READS = { unreadable: 'no name of an event' };
const standardSigned = (name, why, { secrets = [SPEC_SECRET], timestamp = '1614265330', signature = SPEC_SIGNATURE, now = '2021-02-25T15:02:10Z', id = SPEC_ID, authentic = true }) =>
  comesIn('standard', name, why, {
    headers: Object.fromEntries(Object.entries({ 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature }).filter(([, v]) => v !== null)),
    body: SPEC_BODY, secrets, now, authentic, reads: SPEC_READS,
  });
const specV1a = v1a(SEED, SPEC_ID, '1614265330', SPEC_BODY);
standardSigned('signature', 'The vector of the Standard Webhooks libraries', {});
standardSigned('signature_several', 'One signature of several fits, whatever the versions of the others', { signature: `v1,${Buffer.alloc(32).toString('base64')} v2,AAAA ${SPEC_SIGNATURE}` });
standardSigned('signature_plain_secret', 'A secret without whsec_ is used as its bytes', { secrets: ['plain secret'], signature: v1('plain secret', SPEC_ID, '1614265330', SPEC_BODY) });
standardSigned('signature_ed25519', 'v1a, checked with the public key', { secrets: [WHPK], signature: specV1a });
standardSigned('signature_ed25519_private', 'v1a, checked with the private key as seed', { secrets: [WHSK], signature: specV1a });
standardSigned('signature_ed25519_pair', 'v1a, checked with the private key as seed and public key', { secrets: [WHSK_LONG], signature: specV1a });
standardSigned('signature_versions_do_not_mix', 'A v1a label on a v1 signature proves nothing', { signature: SPEC_SIGNATURE.replace('v1,', 'v1a,'), authentic: 'does not match' });
standardSigned('signature_other_id', 'The id is under the signature', { id: 'msg_other', authentic: 'does not match' });
standardSigned('signature_late', 'Five minutes late is in time', { now: '2021-02-25T15:07:10Z' });
standardSigned('signature_too_late', 'Five minutes and a second late is not', { now: '2021-02-25T15:07:11Z', authentic: 'more than five minutes' });
standardSigned('signature_too_early', 'From the future', { now: '2021-02-25T14:57:09Z', authentic: 'more than five minutes' });
standardSigned('signature_no_time', 'A timestamp that is none', { timestamp: 'now', authentic: 'is not a number of seconds' });
standardSigned('signature_missing', 'No signature', { signature: null, authentic: 'webhook-signature is missing' });
standardSigned('signature_empty', 'Nothing that could be one', { signature: 'v1', authentic: 'holds no' });

// ------------------------------------------------------------------------------------------------------------------
// What bodies say: each system's corners.

const reads = (dialect, name, why, body, reads) => comesIn(dialect, name, why, { body, now: NOW, authentic: true, reads });

const vg = (rest) => JSON.stringify({ call_uuid: 'c1', ...rest });
for (const [event, step] of [['call_initiated', 'initiated'], ['call_ringing', 'ringing'], ['call_answered', 'answered']]) {
  reads('voicegenie', event, 'Seed 000: event types', vg({ event, timestamp: '2024-01-16T10:30:00Z' }),
    { step, outcome: null, at: '2024-01-16T10:30:00Z', call: { call_id: 'c1' } });
}
reads('voicegenie', 'call_failed', 'Failed without an outcome is failed', vg({ event: 'call_failed' }), ended({ call_id: 'c1' }, null, 'failed'));
for (const outcome of ['completed', 'no_answer', 'busy', 'failed', 'voicemail']) {
  reads('voicegenie', `outcome_${outcome}`, 'The outcome decides, not the name of the event',
    vg({ event: outcome === 'completed' ? 'call_failed' : 'call_ended', call_data: { outcome } }), ended({ call_id: 'c1' }, null, outcome));
}
reads('voicegenie', 'outcome_hyphen', 'The same vendor writes no-answer elsewhere', vg({ event: 'call_failed', call_data: { outcome: 'no-answer' } }), ended({ call_id: 'c1' }, null, 'no_answer'));
reads('voicegenie', 'outcome_transferred', 'Transferred is completed with a mark', vg({ event: 'call_ended', call_data: { outcome: 'transferred' } }), ended({ call_id: 'c1', transferred: true }, null));
reads('voicegenie', 'outcome_business', 'A business outcome says nothing about the telephone', vg({ event: 'call_ended', call_data: { outcome: 'demo_scheduled' } }), ended({ call_id: 'c1', analysis: { result: 'demo_scheduled' } }, null));
reads('voicegenie', 'id_past_2_53', 'An id written as a number keeps its digits', '{"call_uuid":9007199254740993,"event":"call_ended"}', ended({ call_id: '9007199254740993' }, null));
reads('voicegenie', 'half_emoji', 'Vendors cut emoji in half', String.raw`{"call_uuid":"c1","event":"call_ended","call_data":{"custom_data":{"note":"cut \ud83d off"},"transcript":[{"role":"user","content":"\ude00 \ud83d\ude00"}]}}`,
  ended(verbatim(String.raw`{"call_id":"c1","transcript":{"turns":[{"role":"user","text":"\ude00 😀"}]},"variables":{"note":"cut \ud83d off"}}`), null));
reads('voicegenie', 'repeated_key', 'The last value counts, as in JavaScript', '{"call_uuid":"old","event":"call_ended","call_uuid":"new"}', ended({ call_id: 'new' }, null));
reads('voicegenie', 'turn_seconds', 'A small number is seconds into the call, a large one a time', vg({ event: 'call_ended', call_data: { transcript: [{ role: 'user', content: 'Hi', timestamp: 3 }, { role: 'user', content: 'Ho', timestamp: 1705401300 }] } }),
  ended({ call_id: 'c1', transcript: { turns: [{ role: 'user', text: 'Hi', offset_seconds: 3 }, { role: 'user', text: 'Ho', at: '2024-01-16T10:35:00Z' }] } }, null));
reads('voicegenie', 'huge_numbers', 'Digits are kept, also those that no float can hold', '{"call_uuid":"c1","event":"call_ended","call_data":{"custom_data":{"a":1e400,"b":0.30,"c":12345678901234567890}}}',
  ended(verbatim('{"call_id":"c1","variables":{"a":1e400,"b":0.30,"c":12345678901234567890}}'), null));
reads('voicegenie', 'duration_as_text', 'A duration may come as text', vg({ event: 'call_ended', call_data: { duration: '61' } }), ended({ call_id: 'c1', duration_seconds: 61 }, null));
reads('voicegenie', 'custom_analysis', 'Score, classification and action items are custom data here', vg({ event: 'call_ended', call_data: { custom_data: { score: 85, classification: 'Sales', action_items: ['a'], interests_and_needs: { x: 1 }, mine: null } } }),
  ended({ call_id: 'c1', analysis: { score: 85, classification: 'Sales', interests_and_needs: { x: 1 }, action_items: ['a'] }, variables: { mine: null } }, null));
reads('voicegenie', 'unknown_members', 'What nobody knows is kept under the name of its place', vg({ event: 'call_ended', attempt: 2, call_data: { hangup_cause: 'NORMAL_CLEARING', transcript: 7, nothing: null, sentiment: { emotions: ['curious'] } } }),
  ended({ call_id: 'c1', metadata: { attempt: 2, 'call_data.hangup_cause': 'NORMAL_CLEARING', 'call_data.transcript': 7, 'call_data.sentiment.emotions': ['curious'] } }, null));
reads('voicegenie', 'unknown_event', 'An event name that the seed does not have', vg({ event: 'call_paused' }), { unreadable: 'unknown event `call_paused`' });
reads('voicegenie', 'no_event', 'No event at all', vg({}), { unreadable: 'no name of an event' });
reads('voicegenie', 'no_id', 'No call id', '{"event":"call_ended"}', { unreadable: 'no `call_uuid`' });
reads('voicegenie', 'empty_id', 'An empty call id is none', '{"call_uuid":"","event":"call_ended"}', { unreadable: 'no `call_uuid`' });
reads('voicegenie', 'negative_duration', 'A duration cannot be negative', vg({ event: 'call_ended', call_data: { duration: -1 } }), { unreadable: '`call_data.duration` is `-1`' });
reads('voicegenie', 'no_time', 'A timestamp that is none', vg({ event: 'call_ended', timestamp: 'yesterday' }), { unreadable: '`timestamp` is `yesterday`' });
reads('voicegenie', 'array', 'JSON, but no object', '[]', { unreadable: 'not an object' });
reads('voicegenie', 'form', 'Not JSON', 'call_uuid=c1&event=call_ended', { unreadable: 'not JSON' });
reads('voicegenie', 'cut_off', 'Cut off on the way', VOICEGENIE_EXAMPLE.slice(0, 300), { unreadable: 'not JSON' });
reads('voicegenie', 'deep', 'Nested deeper than anybody means it', `{"call_uuid":"c1","event":"call_ended","x":${'['.repeat(200)}${']'.repeat(200)}}`, { unreadable: 'nests too deep' });
comesIn('voicegenie', 'latin_1', 'Not UTF-8', { body_base64: Buffer.from('{"call_uuid":"c1","event":"call_ended","n":"caf\xe9"}', 'latin1').toString('base64'), now: NOW, authentic: true, reads: { unreadable: 'not UTF-8 from byte 47 on' } });

const CLLR_CURL = `{
"callId": "test-call-123",
"recordingUri": "https://example.com/recording.ogg",
"callerDetails": {
"name": "Test User",
"phoneNumber": "+1-555-000-0000"
}
}`;
reads('cllr', 'curl', 'Seed 001: the curl body is an ordinary call', CLLR_CURL, ended({ call_id: 'test-call-123', contact: { name: 'Test User', phone: '+15550000000' }, recording: { url: 'https://example.com/recording.ogg' } }, null));
reads('cllr', 'only_id', 'Every field but callId is optional', '{"callId":"a"}', ended({ call_id: 'a' }, null));
reads('cllr', 'structure', 'Seed 001: the payload structure, objects filled', JSON.stringify({
  callId: 'a', callerDetails: { age: '41', gender: 'female', email: '' },
  callAnalysis: { interestsAndNeeds: { product: 'CRM' }, actionItems: { next: 'mail' }, sentiment: { overall: 'positive', confidence: 0.9, peaks: [1, 2] }, extra: true },
}), ended({ call_id: 'a', contact: { details: { age: '41', gender: 'female' } }, analysis: { sentiment: 'positive', sentiment_confidence: 0.9, sentiment_detail: { peaks: [1, 2] }, interests_and_needs: { product: 'CRM' }, action_items: { next: 'mail' } }, metadata: { 'callAnalysis.extra': true } }, null));
reads('cllr', 'no_id', 'No call id', '{"callerDetails":{}}', { unreadable: 'no `callId`' });

const dialgen = (data, rest = {}) => JSON.stringify({ success: true, callData: { id: 'c1', ...data }, ...rest });
for (const [status, outcome] of [['COMPLETED', 'completed'], ['MISSED', 'no_answer'], ['FAILED', 'failed'], ['completed', 'completed'], ['BUSY', 'busy']]) {
  reads('dialgen', `status_${status === 'completed' ? 'lower_case' : status.toLowerCase()}`, 'Status of an ended call', dialgen({ status }), ended({ call_id: 'c1' }, null, outcome));
}
reads('dialgen', 'status_scheduled', 'Not called yet', dialgen({ status: 'SCHEDULED' }), { step: 'requested', outcome: null, at: null, call: { call_id: 'c1' } });
reads('dialgen', 'status_ongoing', 'The conversation is under way', dialgen({ status: 'ONGOING', startTime: '2025-11-15T14:30:00.000Z' }), { step: 'answered', outcome: null, at: '2025-11-15T14:30:00Z', call: { call_id: 'c1', started_at: '2025-11-15T14:30:00Z' } });
reads('dialgen', 'status_absent', 'The hook fires when a call completes', dialgen({}), ended({ call_id: 'c1' }, null));
reads('dialgen', 'status_unknown', 'A status that says nothing', dialgen({ status: 'PAUSED' }), { unreadable: 'unknown status `PAUSED`' });
reads('dialgen', 'dial_callback', 'The callback of /call/dial: batchId is an empty string, and there is more than the seed prints', dialgen({ callSid: 'CA1', direction: 'OUTBOUND', batchId: '', createdAt: '2025-11-15T14:29:00.000Z', contactName: '' }),
  ended({ call_id: 'c1', direction: 'outbound', created_at: '2025-11-15T14:29:00Z', metadata: { 'callData.callSid': 'CA1' } }, null));
reads('dialgen', 'metrics', 'Custom metrics keep their types; an escalation is a transfer', dialgen({ metricJson: { intent: 'INTERESTED', callStatus: 'HUMAN_ESCALATION', customerSatisfaction: 5, keyPoints: ['a'], actionItems: ['b'] } }),
  ended({ call_id: 'c1', transferred: true, analysis: { classification: 'INTERESTED', action_items: ['b'] }, variables: { callStatus: 'HUMAN_ESCALATION', customerSatisfaction: 5, keyPoints: ['a'] } }, null));
reads('dialgen', 'long_id', 'A numeric id past 2^53 keeps its digits', '{"callData":{"id":12345678901234567891}}', ended({ call_id: '12345678901234567891' }, null));
reads('dialgen', 'words_unknown', 'Words that nobody knows are kept, and a success that is none', '{"success":false,"callData":{"id":"c1","direction":"SIDEWAYS"}}',
  ended({ call_id: 'c1', metadata: { success: false, 'callData.direction': 'SIDEWAYS' } }, null));
const BATCH_COMPLETED = `{
"event": "batch.completed",
"batchId": "batch_123",
"agentId": "agent_456",
"userId": "user_789",
"statistics": {
"total": 1000,
"processed": 1000,
"succeeded": 850,
"failed": 150,
"percentComplete": 100,
"successRate": 85
},
"timestamps": {
"createdAt": "2025-11-15T14:00:00.000Z",
"startedAt": "2025-11-15T14:05:00.000Z",
"completedAt": "2025-11-15T16:30:00.000Z"
}
}`;
const BATCH_FAILED = `{
"event": "batch.failed",
"batchId": "batch_123",
"agentId": "agent_456",
"error": "Insufficient call minutes",
"code": "INSUFFICIENT_CREDITS",
"timestamp": "2025-11-15T14:05:00.000Z"
}`;
const COMPLETED_BATCH = { batch_id: 'batch_123', agent_id: 'agent_456', user_id: 'user_789', statistics: { total: 1000, processed: 1000, succeeded: 850, failed: 150, percent_complete: 100, success_rate: 85 }, created_at: '2025-11-15T14:00:00Z', started_at: '2025-11-15T14:05:00Z', completed_at: '2025-11-15T16:30:00Z' };
const FAILED_BATCH = { batch_id: 'batch_123', agent_id: 'agent_456', error: 'Insufficient call minutes', code: 'INSUFFICIENT_CREDITS' };
reads('dialgen', 'batch_completed', 'Seed 002: onBatchComplete', BATCH_COMPLETED, { kind: 'batch.completed', at: '2025-11-15T16:30:00Z', batch: COMPLETED_BATCH });
reads('dialgen', 'batch_failed', 'Seed 002: onBatchFailed', BATCH_FAILED, { kind: 'batch.failed', at: '2025-11-15T14:05:00Z', batch: FAILED_BATCH });
reads('dialgen', 'batch_no_id', 'A batch without id', '{"event":"batch.completed"}', { unreadable: 'no `batchId`' });
reads('dialgen', 'unknown_event', 'An event name that the seed does not have', '{"event":"batch.paused","batchId":"b"}', { unreadable: 'unknown event `batch.paused`' });
reads('dialgen', 'neither', 'Neither a call nor an event', '{"success":true}', { unreadable: 'neither `callData` nor `event`' });

const ALORO_TEST = `{
  "event": "call.ended",
  "test": true,
  "data": {
    "call": {
      "id": "test_call_123",
      "phone": "+15555555555",
      "status": "completed",
      "duration": 120
    },
    "variables": {
      "status": true,
      "summary": "This is a test webhook"
    }
  }
}`;
reads('aloro', 'test_payload', 'Seed 003: the test payload is shown, never booked', ALORO_TEST,
  { test: ended({ call_id: 'test_call_123', duration_seconds: 120, contact: { phone: '+15555555555' }, analysis: { summary: 'This is a test webhook', success: true } }, null) });
reads('aloro', 'flat', 'The other shape of the same site', '{"call_id":"call_abc123","phone":"+1234567890","duration":180,"status":"completed","variables":{"lead_qualified":true,"interest_level":"hot","next_step":"mail","callback_date":"2024-03-15"},"transcript":"AI: Hi\\nCustomer: Hello","recording_url":"https://storage.aloro.ai/r.mp3"}',
  ended({ call_id: 'call_abc123', duration_seconds: 180, contact: { phone: '+1234567890' }, recording: { url: 'https://storage.aloro.ai/r.mp3' }, transcript: { text: 'AI: Hi\nCustomer: Hello', turns: [{ role: 'assistant', text: 'Hi' }, { role: 'user', text: 'Hello' }] }, variables: { lead_qualified: true, interest_level: 'hot', next_step: 'mail', callback_date: '2024-03-15' } }, null));
const aloro = (call, rest = {}) => JSON.stringify({ event: 'call.ended', data: { call: { id: 'c1', ...call }, ...rest } });
for (const [status, outcome] of [['Unanswered', 'no_answer'], ['Busy', 'busy'], ['Voicemail', 'voicemail'], ['Failed', 'failed'], ['missed', 'no_answer']]) {
  reads('aloro', `status_${status.toLowerCase()}`, 'The status tells, the event is always call.ended', aloro({ status }), ended({ call_id: 'c1' }, null, outcome));
}
for (const [status, step] of [['Initiated', 'initiated'], ['Ringing', 'ringing'], ['In Progress', 'answered']]) {
  reads('aloro', `status_${status.toLowerCase().replace(' ', '_')}`, 'A call that is not over', aloro({ status }), { step, outcome: null, at: null, call: { call_id: 'c1' } });
}
reads('aloro', 'status_unknown', 'A status that says nothing', aloro({ status: 'Rescheduled' }), { unreadable: 'unknown status `Rescheduled`' });
reads('aloro', 'direction_unknown', 'A word that nobody knows is kept', aloro({ direction: 'internal' }), ended({ call_id: 'c1', metadata: { 'data.call.direction': 'internal' } }, null));
reads('aloro', 'unknown_event', 'An event name that the seed does not have', '{"event":"call.paused","data":{"call":{"id":"c1"}}}', { unreadable: 'unknown event `call.paused`' });
reads('aloro', 'no_call', 'Data without a call', '{"event":"call.ended","data":{}}', { unreadable: 'no object `data.call`' });
reads('aloro', 'no_id', 'No call id', '{"event":"call.ended","data":{"call":{}}}', { unreadable: 'no `data.call.id`' });
reads('aloro', 'variables_of_other_types', 'What is not of the documented type stays a custom variable', aloro({}, { variables: { status: 'won', summary: 5, score: '9' } }), ended({ call_id: 'c1', variables: { status: 'won', summary: 5, score: '9' } }, null));

const air = (call) => JSON.stringify({ call: { sid: 'c1', ...call }, headers: {} });
reads('air', 'nulls', 'Seed 004: campaignId and leadData may be null', air({ campaignId: null, leadData: null }), ended({ call_id: 'c1' }, null));
reads('air', 'inbound', 'Inbound: the remote party is the caller', air({ direction: 'inbound', fromNumber: '+1 (555) 000-1111', toNumber: '+15550002222' }), ended({ call_id: 'c1', direction: 'inbound', contact: { phone: '+15550001111' }, line: { number: '+15550002222' } }, null));
reads('air', 'machine', 'A machine answered', air({ llmAnsweredBy: 'machine_start' }), ended({ call_id: 'c1', answered_by: 'machine' }, null, 'voicemail'));
reads('air', 'words_unknown', 'Words that nobody knows are kept; who answered is then not known', air({ llmAnsweredBy: 'fax', direction: 'trunk' }), ended({ call_id: 'c1', metadata: { 'call.llmAnsweredBy': 'fax', 'call.direction': 'trunk' } }, null));
reads('air', 'post_call_outcome', 'POST_CALL_OUTCOME adds three fields', air({ outcome: 'Interested', primaryOutcomeAchieved: true, notes: 'Call back on Monday' }), ended({ call_id: 'c1', analysis: { success: true, result: 'Interested' }, metadata: { 'call.notes': 'Call back on Monday' } }, null));
reads('air', 'headers', 'What stands in headers is kept', '{"call":{"sid":"c1"},"headers":{"x":"y"}}', ended({ call_id: 'c1', metadata: { headers: { x: 'y' } } }, null));
reads('air', 'no_call', 'No call', '{"headers":{}}', { unreadable: 'no object `call`' });
reads('air', 'no_id', 'No call id', '{"call":{}}', { unreadable: 'no `call.sid`' });
reads('air', 'no_time', 'A time that is none', air({ createdAt: '2023-13-31 23:12:05+00' }), { unreadable: '`call.createdAt` is' });

const standard = (type, data, rest = {}) => JSON.stringify({ type, timestamp: '2024-05-01T12:00:00Z', data, ...rest });
const AT = '2024-05-01T12:00:00Z';
for (const [type, stage] of [['call.requested', 'requested'], ['call.initiated', 'initiated'], ['call.ringing', 'ringing'], ['call.answered', 'answered']]) {
  reads('standard', type.replace('.', '_'), 'Each step of a call', standard(type, { call_id: 'c1', stage }), { step: stage, outcome: null, at: AT, call: { call_id: 'c1' } });
}
reads('standard', 'outcome_decides', 'The outcome decides, not the type', standard('call.ended', { call_id: 'c1', stage: 'ended', outcome: 'busy' }), ended({ call_id: 'c1' }, AT, 'busy'));
reads('standard', 'by_hand', 'A body written by hand may leave out what the type says', standard('call.failed', { call_id: 'c1' }), ended({ call_id: 'c1' }, AT, 'failed'));
reads('standard', 'updated_ended', 'An update of an ended call', standard('call.updated', { call_id: 'c1', stage: 'ended', outcome: 'completed', contradicting_outcomes: ['failed'], analysis: { summary: 's' }, changed: ['analysis.summary'] }), ended({ call_id: 'c1', analysis: { summary: 's' } }, AT));
reads('standard', 'updated_ringing', 'An update of a call under way', standard('call.updated', { call_id: 'c1', stage: 'ringing', agent: { id: 'a' }, changed: ['agent.id'] }), { step: 'ringing', outcome: null, at: AT, call: { call_id: 'c1', agent: { id: 'a' } } });
reads('standard', 'unknown_members', 'What nobody knows is kept', standard('call.ended', { call_id: 'c1', outcome: 'completed', extra: 1, nothing: null, contact: { name: 'N', vip: true }, metadata: { old: 'x' } }, { source: 'elsewhere' }),
  ended({ call_id: 'c1', contact: { name: 'N' }, metadata: { old: 'x', source: 'elsewhere', 'data.extra': 1, 'data.contact.vip': true } }, AT));
reads('standard', 'batch_completed', 'A batch', standard('batch.completed', { ...COMPLETED_BATCH, region: 'eu' }), { kind: 'batch.completed', at: AT, batch: { ...COMPLETED_BATCH, metadata: { 'data.region': 'eu' } } });
reads('standard', 'batch_failed', 'A batch that failed', standard('batch.failed', FAILED_BATCH), { kind: 'batch.failed', at: AT, batch: FAILED_BATCH });
reads('standard', 'endpoint_disabled', 'Known, and not about calls', standard('endpoint.disabled', { endpoint_id: 'ep_1', reason: '410 Gone' }), { ignored: 'endpoint.disabled' });
reads('standard', 'test', 'A test send of another postcall is not booked', standard('call.ended', { call_id: 'c1', outcome: 'completed' }, { test: true }), { test: ended({ call_id: 'c1' }, AT) });
reads('standard', 'unknown_event', 'An unknown type', standard('call.paused', { call_id: 'c1' }), { unreadable: 'unknown event `call.paused`' });
reads('standard', 'no_id', 'No call id', standard('call.ended', { call_id: '' }), { unreadable: 'no `data.call_id`' });
reads('standard', 'no_data', 'No data', '{"type":"call.ended"}', { unreadable: 'no object `data`' });
reads('standard', 'wrong_kind', 'Our own words are typed', standard('call.ended', { call_id: 'c1', duration_seconds: 'long' }), { unreadable: '`data`: ' });
reads('standard', 'no_outcome', 'An ended call in an update needs its outcome', standard('call.updated', { call_id: 'c1', stage: 'ended' }), { unreadable: 'without `data.outcome`' });

// ------------------------------------------------------------------------------------------------------------------
// What goes out: an independent writing of the table of fields. `c` is a call as the API shows it, `ev` its event.

const seconds = (time) => new Date(time).toISOString().replace(/\.\d+Z$/, 'Z');
const millis = (time) => new Date(time).toISOString();
const endOf = (c, ev) => c.ended_at ?? (c.outcome ? ev.timestamp : undefined);
const present = (object) => Object.fromEntries(Object.entries(object).filter(([, v]) => v !== undefined));
const has = (value) => value ?? {};
// Free-form values beside documented members, which win; for those that have a type nothing of another type stands.
const beside = (documented, free, types = {}) => {
  const known = present(documented);
  const stands = ([key, value]) => !Object.hasOwn(known, key) && (!Object.hasOwn(types, key) || typeof value === types[key]);
  return { ...known, ...Object.fromEntries(Object.entries(has(free)).filter(stands)) };
};
const named = { assistant: ['assistant', 'ai', 'AI', 'BOT'], user: ['user', 'customer', 'Customer', 'HUMAN'] };
const saidBy = (role, column) => named[role]?.[column] ?? role;
const spokenTurns = (c) => c.transcript?.turns ?? [];
const turnTime = (c, t) => t.at ?? (c.started_at && t.offset_seconds !== undefined
  ? new Date(Date.parse(c.started_at) + t.offset_seconds * 1000).toISOString() : undefined);
const turnOffset = (c, t) => {
  const start = c.started_at ?? spokenTurns(c)[0].at;
  return t.offset_seconds ?? (start && t.at ? Math.max(0, Date.parse(t.at) - Date.parse(start)) / 1000 : undefined);
};
const mmss = (offset) => [Math.floor(offset / 60), Math.floor(offset) % 60].map((n) => String(n).padStart(2, '0')).join(':');
const oneString = (c, column) => spokenTurns(c).map((t) => `${saidBy(t.role, column)}: ${t.text}`).join('\n');
const recordingOf = (c, options) => (options.include_recording === false ? undefined : c.recording?.url);
const campaignOf = (c) => c.campaign?.id ?? c.batch_id;
const feeling = (c) => c.analysis?.sentiment ?? c.analysis?.mood;

const WRITERS = {
  voicegenie: (c, ev, options) => present({
    call_uuid: c.call_id,
    event: ev.type.replace('.', '_'),
    campaign_id: campaignOf(c),
    phone_number: c.contact?.phone,
    call_data: present({
      duration: c.duration_seconds,
      recording_url: recordingOf(c, options),
      transcript: spokenTurns(c).map((t) => {
        const time = turnTime(c, t);
        return beside({ timestamp: time && seconds(time), role: saidBy(t.role, 0), content: t.text }, t.more);
      }),
      outcome: { canceled: 'failed', lost: 'failed' }[c.outcome] ?? c.outcome,
      sentiment: present({ overall: feeling(c), confidence: c.analysis?.sentiment_confidence }),
      custom_data: beside({
        score: c.analysis?.score, classification: c.analysis?.classification, action_items: c.analysis?.action_items,
        interests_and_needs: c.analysis?.interests_and_needs,
      }, c.variables),
    }),
    timestamp: seconds(ev.timestamp),
  }),
  cllr: (c, ev, options) => present({
    callId: c.call_id,
    recordingUri: recordingOf(c, options),
    transcriptUri: c.transcript?.url ?? options.transcript_url,
    callerDetails: beside({ name: c.contact?.name, phoneNumber: c.contact?.phone, email: c.contact?.email }, c.contact?.details),
    callAnalysis: present({
      summary: c.analysis?.summary,
      mood: c.analysis?.mood ?? c.analysis?.sentiment,
      score: c.analysis?.score,
      callOutcome: c.analysis?.result,
      classification: c.analysis?.classification,
      interestsAndNeeds: has(c.analysis?.interests_and_needs),
      actionItems: has(c.analysis?.action_items),
      sentiment: beside({ overall: c.analysis?.sentiment, confidence: c.analysis?.sentiment_confidence }, c.analysis?.sentiment_detail),
    }),
  }),
  dialgen: (c, ev, options) => {
    if (ev.type === 'batch.completed') {
      const { total, processed, succeeded, failed, percent_complete: percentComplete, success_rate: successRate } = has(c.statistics);
      return present({
        event: ev.type, batchId: c.batch_id, agentId: c.agent_id, userId: c.user_id,
        statistics: present({ total, processed, succeeded, failed, percentComplete, successRate }),
        timestamps: present({ createdAt: c.created_at && millis(c.created_at), startedAt: c.started_at && millis(c.started_at), completedAt: millis(c.completed_at ?? ev.timestamp) }),
      });
    }
    if (ev.type === 'batch.failed') {
      return present({ event: ev.type, batchId: c.batch_id, agentId: c.agent_id, userId: c.user_id, error: c.error, code: c.code, timestamp: millis(ev.timestamp) });
    }
    return {
      success: true,
      callData: present({
        id: c.call_id,
        contactId: c.contact?.id,
        agentId: c.agent?.id,
        batchId: c.batch_id ?? c.campaign?.id,
        userId: c.user_id,
        status: { completed: 'COMPLETED', failed: 'FAILED', lost: 'FAILED' }[c.outcome] ?? 'MISSED',
        direction: c.direction?.toUpperCase(),
        createdAt: c.created_at && millis(c.created_at),
        startTime: c.started_at && millis(c.started_at),
        endTime: millis(endOf(c, ev)),
        duration: c.duration_seconds,
        phoneNumber: c.contact?.phone,
        contactName: c.contact?.name,
        transcription: spokenTurns(c).map((t) => {
          const time = turnTime(c, t);
          return beside({ role: saidBy(t.role, 0), content: t.text, timestamp: time && millis(time) }, t.more);
        }),
        recordingUrl: recordingOf(c, options),
        summary: c.analysis?.summary,
        error: c.failure?.reason,
        metricJson: beside({
          intent: c.analysis?.classification, sentiment: feeling(c), confidence: c.analysis?.sentiment_confidence, score: c.analysis?.score,
          actionItems: c.analysis?.action_items, interestsAndNeeds: c.analysis?.interests_and_needs,
        }, c.variables, { intent: 'string', sentiment: 'string', confidence: 'number' }),
      }),
      metricSchema: has(c.metric_schema),
    };
  },
  aloro: (c, ev, options) => ({
    event: 'call.ended',
    timestamp: seconds(ev.timestamp),
    data: present({
      call: present({
        id: c.call_id,
        phone: c.contact?.phone,
        direction: c.direction,
        status: { no_answer: 'unanswered', canceled: 'failed', lost: 'failed' }[c.outcome] ?? c.outcome,
        duration: c.duration_seconds,
        started_at: c.started_at && seconds(c.started_at),
        ended_at: seconds(endOf(c, ev)),
      }),
      assistant: present({ id: c.agent?.id, name: c.agent?.name }),
      phone_number: present({ id: c.line?.id, number: c.line?.number }),
      campaign: present({ id: campaignOf(c), name: c.campaign?.name }),
      variables: beside({
        status: c.analysis?.success ?? c.outcome === 'completed', summary: c.analysis?.summary, score: c.analysis?.score,
        classification: c.analysis?.classification, action_items: c.analysis?.action_items, interests_and_needs: c.analysis?.interests_and_needs,
      }, c.variables, { status: 'boolean', summary: 'string' }),
      transcript: {
        formatted: c.transcript?.text?.startsWith('AI:') ? c.transcript.text : oneString(c, 2),
        timestamped: spokenTurns(c).map((t) => {
          const offset = turnOffset(c, t);
          return beside({ speaker: saidBy(t.role, 1), text: t.text, timestamp: offset === undefined ? undefined : mmss(offset) }, t.more);
        }),
      },
      recording: options.include_recording === false ? undefined
        : c.recording?.url ? present({ url: c.recording.url, duration: c.recording.duration_seconds ?? c.duration_seconds }) : {},
      cost: present({ total: c.cost?.total, breakdown: has(c.cost?.breakdown) }),
    }),
  }),
  air: (c, ev, options) => {
    const idOf = (id) => (/^(0|[1-9]\d{0,14})$/.test(id ?? '') ? Number(id) : id);
    const [from, to] = c.direction === 'inbound' ? [c.contact?.phone, c.line?.number] : [c.line?.number, c.contact?.phone];
    const placed = c.created_at ?? c.started_at
      ?? (c.duration_seconds === undefined ? undefined : new Date(Date.parse(endOf(c, ev)) - c.duration_seconds * 1000).toISOString());
    return {
      call: present({
        sid: c.call_id,
        llmAnsweredBy: 'human',
        promptId: idOf(c.agent?.id),
        callRecordingUrl: recordingOf(c, options),
        fromNumber: from,
        toNumber: to,
        direction: { outbound: 'outbound-api', inbound: 'inbound' }[c.direction],
        duration: c.duration_seconds,
        campaignId: idOf(campaignOf(c)) ?? null,
        cachedLeadName: c.contact?.name,
        transcript: c.transcript?.text?.startsWith('BOT:') ? c.transcript.text : oneString(c, 3),
        createdAt: placed?.replace('T', ' ').replace(/(\.\d*?)0*Z$/, '$1+00').replace(/Z$/, '+00').replace('.+00', '+00'),
        leadData: c.variables ?? null,
      }),
      headers: {},
    };
  },
};

// The standard dialect passes `data` on as it is; the others are written anew. Air gets the variables as they are.
const bodyOf = (dialect, data, ev, options) => {
  if (dialect === 'standard') return `{"type":"${ev.type}","timestamp":"${ev.timestamp}","data":${data}}`;
  const body = JSON.stringify(WRITERS[dialect](JSON.parse(data), ev, options));
  const variables = /"variables":(\{[^{}]*\})/.exec(data)?.[1];
  return dialect === 'air' && variables ? body.replace(/"leadData":\{[^{}]*\}/, `"leadData":${variables}`) : body;
};

const SECRETS = {
  voicegenie: { secrets: ['vg_test'] }, cllr: {}, dialgen: { secrets: ['dialgen_test'] }, aloro: { secrets: ['aloro_test'] },
  air: { bearer_token: TOKEN }, standard: { secrets: [SPEC_SECRET] },
};
const headersOf = (dialect, body, id, now, { secrets = [], bearer_token: token }) => {
  const hex = secrets.length > 0 ? hmacHex(secrets[0], body) : undefined;
  switch (dialect) {
    case 'voicegenie': return present({ 'x-webhook-signature': hex });
    case 'dialgen': return present({ 'x-dialgen-signature': hex });
    case 'aloro': return present({ 'x-aloro-signature': hex && `sha256=${hex}`, 'x-aloro-timestamp': seconds(now) });
    case 'air': return present({ authorization: token && `Bearer ${token}` });
    case 'standard': {
      const signatures = secrets.map((secret) => (secret.startsWith('whsk_')
        ? v1a(Buffer.from(secret.slice(5), 'base64').subarray(0, 32), id, epoch(now), body) : v1(secret, id, epoch(now), body)));
      return present({ 'webhook-id': id, 'webhook-timestamp': epoch(now), 'webhook-signature': signatures.join(' ') || undefined });
    }
    default: return {};
  }
};

// Every dialect's rich call out through every dialect.
for (const to of DIALECTS) {
  for (const from of DIALECTS) {
    const { body: heard, at, data } = RICH[from];
    const ev = { id: 'evt_1', type: 'call.ended', timestamp: at ?? '2024-06-01T10:00:00Z' };
    const body = bodyOf(to, data, ev, {});
    write(to, `from_${from}`, `In through ${from}, out through ${to}`, 'out', {
      received: { dialect: from, body: heard, at: ev.timestamp }, ...SECRETS[to], now: NOW,
      expected: { headers: headersOf(to, body, ev.id, NOW, SECRETS[to]), body },
    });
  }
}

const says = (dialect, name, why, type, data, { text, credential = SECRETS[dialect], timestamp = AT, ...options } = {}) => {
  const ev = { id: 'evt_1', type, timestamp };
  const written = typeof data === 'string' ? data : JSON.stringify(data);
  const body = text ?? bodyOf(dialect, written, ev, options);
  goesOut(dialect, name, why, {
    event: { ...ev, data: verbatim(written) }, ...options, ...credential, now: NOW,
    expected: { headers: headersOf(dialect, body, ev.id, NOW, credential), body },
  });
};
const silent = (dialect, name, why, type, data) =>
  goesOut(dialect, name, why, { event: { id: 'evt_1', type, timestamp: AT, data }, now: NOW, expected: null });
const over = (outcome, rest = {}) => ({ call_id: 'c1', stage: 'ended', outcome, ...rest });

// The seeds' own examples come out as JavaScript would write them.
for (const [dialect, example] of [['voicegenie', VOICEGENIE_EXAMPLE], ['dialgen', DIALGEN_EXAMPLE], ['aloro', ALORO_EXAMPLE], ['air', AIR_EXAMPLE]]) {
  const { at, data } = RICH[dialect];
  says(dialect, 'as_printed', 'The printed example, written again by JavaScript', 'call.ended', data, { text: js(example), timestamp: at ?? AT });
}

// Steps and outcomes.
for (const step of ['initiated', 'ringing', 'answered']) {
  says('voicegenie', `call_${step}`, 'A step of a call, documented containers present', `call.${step}`, { call_id: 'c1', stage: step, contact: { phone: '+15550001111' } });
  for (const dialect of ['cllr', 'dialgen', 'aloro', 'air']) {
    silent(dialect, `call_${step}`, 'Not one of its triggers', `call.${step}`, { call_id: 'c1', stage: step });
  }
}
silent('voicegenie', 'call_requested', 'Not one of its five events', 'call.requested', { call_id: 'c1', stage: 'requested' });
for (const outcome of ['completed', 'voicemail', 'no_answer', 'busy', 'failed', 'canceled', 'lost']) {
  const type = ['completed', 'voicemail'].includes(outcome) ? 'call.ended' : 'call.failed';
  for (const dialect of ['voicegenie', 'dialgen', 'aloro', 'standard']) {
    says(dialect, `outcome_${outcome}`, 'Both terminal events; nothing known but the outcome: containers are there, unknown scalars are not', type, over(outcome));
  }
  for (const dialect of ['cllr', 'air']) {
    if (outcome === 'completed') says(dialect, 'sparse', 'Nothing known but the outcome', type, over(outcome));
    else silent(dialect, `outcome_${outcome}`, 'Only completed calls are told', type, over(outcome));
  }
}
silent('air', 'machine', 'A machine answered', 'call.ended', over('completed', { answered_by: 'machine' }));
for (const dialect of ['voicegenie', 'cllr', 'dialgen', 'aloro', 'air']) {
  silent(dialect, 'call_updated', 'Only the standard dialect tells of updates', 'call.updated', over('completed'));
}

// Options, links and credentials.
const RECORDED = over('completed', { duration_seconds: 5, recording: { url: 'https://example.com/r.mp3', duration_seconds: 4 } });
for (const dialect of DIALECTS.filter((name) => name !== 'standard')) {
  says(dialect, 'without_recording', 'include_recording: false', 'call.ended', RECORDED, { include_recording: false });
}
says('standard', 'without_recording', 'include_recording: false, also in the list of what changed', 'call.updated',
  { ...RECORDED, changed: ['recording.url', 'duration_seconds'] },
  { include_recording: false, text: `{"type":"call.updated","timestamp":"${AT}","data":{"call_id":"c1","stage":"ended","outcome":"completed","duration_seconds":5,"changed":["duration_seconds"]}}` });
says('cllr', 'transcript_link', 'Turns that came inline are fetched from us', 'call.ended', over('completed', { transcript: { turns: [{ role: 'user', text: 'Hi' }] } }), { transcript_url: 'https://postcall.example/t/abc' });
says('cllr', 'digits', 'Not a dialect of JavaScript: digits stay', 'call.ended', '{"call_id":"c1","stage":"ended","outcome":"completed","analysis":{"score":85.50}}',
  { text: '{"callId":"c1","callerDetails":{},"callAnalysis":{"score":85.50,"interestsAndNeeds":{},"actionItems":{},"sentiment":{}}}' });
says('air', 'digits', 'Not a dialect of JavaScript: digits stay; a long numeric id stays text', 'call.ended', '{"call_id":"c1","stage":"ended","outcome":"completed","agent":{"id":"9007199254740993"},"campaign":{"id":"17"},"variables":{"x":1.0,"2":0,"1":0}}',
  { text: '{"call":{"sid":"c1","llmAnsweredBy":"human","promptId":"9007199254740993","campaignId":17,"transcript":"","leadData":{"x":1.0,"2":0,"1":0}},"headers":{}}' });
says('air', 'inbound', 'Inbound: the remote party is where the call came from', 'call.ended', over('completed', { direction: 'inbound', contact: { phone: '+1' }, line: { number: '+2' } }));
for (const dialect of ['voicegenie', 'dialgen', 'aloro', 'air', 'standard']) {
  says(dialect, 'unsigned', 'No secret, no signature', 'call.ended', over('completed'), { credential: {} });
}
says('voicegenie', 'new_secret', 'One signature only: the new secret signs', 'call.ended', over('completed'), { credential: { secrets: ['newer', 'vg_test'] } });
says('standard', 'both_secrets', 'While a secret is replaced, both sign', 'call.ended', over('completed'), { credential: { secrets: [SPEC_SECRET, 'older secret'] } });
says('standard', 'ed25519', 'A private key signs v1a, beside the shared secret that it replaces', 'call.ended', over('completed'), { credential: { secrets: [WHSK, SPEC_SECRET] } });
says('standard', 'ed25519_pair', 'A private key that brings its public one', 'call.ended', over('completed'), { credential: { secrets: [WHSK_LONG] } });

// Fixed points of JavaScript: whatever a vendor put in.
const NASTY = String.raw`{"1":1.0,"a":0.30,"0":-0,"big":9007199254740993,"huge":1e400,"tiny":1e-7,"exp":1E21,"a":"again","cut":"\ud83d","line":"\u2028","key \ude00":"\u0007\/","__proto__":{"2":1,"1":2},"e":"\u00e9"}`;
for (const dialect of ['voicegenie', 'dialgen', 'aloro']) {
  const data = `{"call_id":"c1","stage":"ended","outcome":"completed","variables":${NASTY}}`;
  // The second writing goes over JSON.parse and so has JavaScript's own opinion; but a spread loses __proto__ keys.
  const ev = { type: 'call.ended', timestamp: AT };
  const marked = WRITERS[dialect](JSON.parse(data.replace(NASTY, '{"NASTY":1}')), ev, {});
  const members = NASTY.slice(1, -1);
  says(dialect, 'nasty_json', 'Numbers, keys and strings where naive writers differ from JavaScript', 'call.ended', data,
    { text: js(JSON.stringify(marked).replace('"NASTY":1', members)) });
}

// Free-form values that are named like documented members: these win, also over what has another type than theirs.
says('aloro', 'custom_names_known', 'status and summary are the documented ones, score the known one', 'call.failed',
  over('failed', { analysis: { summary: 'S', success: true, score: 7 }, variables: { status: 'won', summary: 'mine', score: 1, x: 1 } }),
  { text: `{"event":"call.ended","timestamp":"2024-05-01T12:00:00Z","data":{"call":{"id":"c1","status":"failed","ended_at":"2024-05-01T12:00:00Z"},"assistant":{},"phone_number":{},"campaign":{},"variables":{"status":true,"summary":"S","score":7,"x":1},"transcript":{"formatted":"","timestamped":[]},"recording":{},"cost":{"breakdown":{}}}}` });
const judged = (status, word) => `{"event":"call.ended","timestamp":"2024-05-01T12:00:00Z","data":{"call":{"id":"c1","status":"${word}","ended_at":"2024-05-01T12:00:00Z"},"assistant":{},"phone_number":{},"campaign":{},"variables":{"status":${status}},"transcript":{"formatted":"","timestamped":[]},"recording":{},"cost":{"breakdown":{}}}}`;
says('aloro', 'success_known', 'A completed call that did not succeed: the known success is the status', 'call.ended', over('completed', { analysis: { success: false } }), { text: judged(false, 'completed') });
for (const [from, body, status, word] of [
  ['voicegenie', vg({ event: 'call_ended', timestamp: AT, call_data: { outcome: 'completed', custom_data: { status: 'won' } } }), true, 'completed'],
  ['dialgen', dialgen({ status: 'MISSED', endTime: AT, metricJson: { status: true } }), false, 'unanswered'],
]) {
  const text = judged(status, word);
  write('aloro', `out_success_of_${from}`, 'The outcome is the success where nothing else tells; a custom status is not the documented one', 'out', {
    received: { dialect: from, body, at: AT }, ...SECRETS.aloro, now: NOW,
    expected: { headers: headersOf('aloro', text, 'evt_1', NOW, SECRETS.aloro), body: text },
  });
}
says('aloro', 'custom_names_of_type', 'No summary known: a text of that name stands; the status is known from the outcome', 'call.ended',
  over('completed', { variables: { status: false, summary: 'mine', score: '9' } }),
  { text: `{"event":"call.ended","timestamp":"2024-05-01T12:00:00Z","data":{"call":{"id":"c1","status":"completed","ended_at":"2024-05-01T12:00:00Z"},"assistant":{},"phone_number":{},"campaign":{},"variables":{"status":true,"summary":"mine","score":"9"},"transcript":{"formatted":"","timestamped":[]},"recording":{},"cost":{"breakdown":{}}}}` });
says('aloro', 'custom_names_of_other_type', 'No summary known, and a number is none', 'call.failed', over('busy', { variables: { summary: 5 } }),
  { text: `{"event":"call.ended","timestamp":"2024-05-01T12:00:00Z","data":{"call":{"id":"c1","status":"busy","ended_at":"2024-05-01T12:00:00Z"},"assistant":{},"phone_number":{},"campaign":{},"variables":{"status":false},"transcript":{"formatted":"","timestamped":[]},"recording":{},"cost":{"breakdown":{}}}}` });
const metrics = (json) => `{"success":true,"callData":{"id":"c1","status":"COMPLETED","endTime":"2024-05-01T12:00:00.000Z","transcription":[],"metricJson":${json}},"metricSchema":{}}`;
says('dialgen', 'custom_names_known', 'Known metrics win', 'call.ended',
  over('completed', { analysis: { classification: 'A', mood: 'calm', sentiment_confidence: 0.5, score: 7, action_items: ['a'] }, variables: { intent: 'B', sentiment: 'angry', confidence: 1, score: 1, actionItems: [], x: 1 } }),
  { text: metrics('{"intent":"A","sentiment":"calm","confidence":0.5,"score":7,"actionItems":["a"],"x":1}') });
says('dialgen', 'custom_names_unknown', 'Nothing known: what has the documented type stands', 'call.ended',
  over('completed', { variables: { intent: 5, sentiment: 'angry', confidence: 'high', score: 'B' } }),
  { text: metrics('{"sentiment":"angry","score":"B"}') });
says('voicegenie', 'custom_names_known', 'Known analysis wins', 'call.ended', over('completed', { analysis: { score: 7 }, variables: { score: 1, classification: 5 } }),
  { text: `{"call_uuid":"c1","event":"call_ended","call_data":{"transcript":[],"outcome":"completed","sentiment":{},"custom_data":{"score":7,"classification":5}},"timestamp":"2024-05-01T12:00:00Z"}` });
says('cllr', 'details_names', 'No key twice: the known name and number win, an email is only among the details', 'call.ended',
  over('completed', { contact: { name: 'N', phone: '+1', details: { phoneNumber: '+2', name: 'M', email: 'e@example.com', city: 'B' } }, analysis: { sentiment: 'good', sentiment_detail: { overall: 'bad', peaks: [1] } } }),
  { text: '{"callId":"c1","callerDetails":{"name":"N","phoneNumber":"+1","email":"e@example.com","city":"B"},"callAnalysis":{"mood":"good","interestsAndNeeds":{},"actionItems":{},"sentiment":{"overall":"good","peaks":[1]}}}' });
for (const dialect of ['voicegenie', 'dialgen', 'aloro']) {
  says(dialect, 'turn_names', 'What else a turn has does not take the place of what it documents', 'call.ended',
    over('completed', { started_at: AT, transcript: { turns: [{ role: 'user', text: 'Hi', offset_seconds: 3, more: { role: 5, speaker: 6, content: 7, text: 8, timestamp: 'soon', confidence: 0.5 } }] } }));
}

// Batches.
for (const dialect of ['dialgen', 'standard']) {
  says(dialect, 'batch_completed', 'Seed 002: onBatchComplete', 'batch.completed', COMPLETED_BATCH, { timestamp: '2025-11-15T16:30:00Z' });
  says(dialect, 'batch_failed', 'Seed 002: onBatchFailed', 'batch.failed', FAILED_BATCH, { timestamp: '2025-11-15T14:05:00Z' });
}
says('dialgen', 'batch_sparse', 'A batch of which nothing is known', 'batch.completed', { batch_id: 'b' });
for (const dialect of ['voicegenie', 'cllr', 'aloro', 'air']) silent(dialect, 'batch_completed', 'Calls only', 'batch.completed', COMPLETED_BATCH);
says('standard', 'endpoint_disabled', 'An endpoint that answered 410', 'endpoint.disabled', { endpoint_id: 'ep_1', reason: '410 Gone' });
silent('dialgen', 'endpoint_disabled', 'Only the standard dialect tells', 'endpoint.disabled', { endpoint_id: 'ep_1', reason: '410 Gone' });

// Transcripts from one shape to another.
const TALK = over('completed', { started_at: '2024-05-01T12:00:00Z', transcript: { turns: [
  { role: 'assistant', text: 'One\nand a half', offset_seconds: 0 }, { role: 'user', text: 'Two', offset_seconds: 65.5 }, { role: 'supervisor', text: 'Three', at: '2024-05-01T13:01:05Z' },
] } });
for (const dialect of ['voicegenie', 'dialgen', 'aloro', 'air']) {
  says(dialect, 'transcript', 'Offsets and times turn into each other; other speakers keep their name', 'call.ended', TALK);
}
const STRANGE = over('completed', { transcript: { text: 'They talked about the weather.' } });
says('air', 'transcript_of_no_shape', 'A string without speakers goes on as it is', 'call.ended', STRANGE,
  { text: '{"call":{"sid":"c1","llmAnsweredBy":"human","campaignId":null,"transcript":"They talked about the weather.","leadData":null},"headers":{}}' });

// Test sends.
const sample = (dialect, why, body) => write(dialect, 'sample', why, 'sample', { now: NOW, expected: { body } });
sample('voicegenie', 'The printed example', js(VOICEGENIE_EXAMPLE));
sample('cllr', 'The curl body, character for character', CLLR_CURL);
sample('dialgen', 'The curl body', js(DIALGEN_CURL));
sample('aloro', 'The test payload', js(ALORO_TEST));

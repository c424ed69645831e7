// Receives post-call webhooks from postcall, in each of its dialects. Keep the routes that you need.
//
// Every route does the same four things, in this order: prove who sends, know what came before, answer at once, and
// only then work. A sender waits a few seconds for the answer and sends again when none comes.

import { createHmac, timingSafeEqual } from 'node:crypto';
import express from 'express';
import { Webhook } from 'standardwebhooks';

const app = express();
const { env } = process;

// The raw bytes, because they are what is signed. (For voicegenie, dialgen and aloro `JSON.stringify(req.body)` after
// `express.json()` gives the same bytes again; other senders and other languages do not promise that.)
app.use('/webhooks', express.raw({ type: '*/*', limit: '5mb' }));

// In a real system these two are one table with the key (dialect, id): insert the body before you answer, and a
// conflict is a duplicate. Memory forgets with every restart, also the work that was not done yet.
const known = new Set();
const seen = [];

// --- The routes: a dialect, where it arrives, secret and proof, what makes two events the same, and the work.

receive('voicegenie', '/webhooks/voicegenie', env.VOICEGENIE_SECRET, hexSignature('X-Webhook-Signature'), {
  id: (body) => body.call_uuid && `${body.call_uuid} ${body.event}`,
  work: ({ call_uuid, event, call_data }) => console.log(event, call_uuid, call_data.outcome),
});

receive('dialgen', '/webhooks/dialgen/call-complete', env.DIALGEN_SECRET, hexSignature('X-Dialgen-Signature'), {
  id: (body) => body.callData?.id,
  work: ({ callData }) => console.log('call', callData.id, callData.status, callData.summary),
});

receive('dialgen', '/webhooks/dialgen/batch-complete', env.DIALGEN_SECRET, hexSignature('X-Dialgen-Signature'), {
  id: (body) => body.batchId && `${body.batchId} ${body.event}`,
  work: ({ batchId, statistics }) => console.log('batch', batchId, `success rate ${statistics.successRate}%`),
});

receive('aloro', '/webhooks/aloro', env.ALORO_SECRET, hexSignature('X-Aloro-Signature'), {
  id: (body) => body.data?.call?.id,
  work: ({ data }) => console.log('call', data.call.id, data.call.status, data.variables.summary),
});

receive('air', '/webhooks/air', env.AIR_TOKEN, bearerToken, {
  id: (body) => body.call?.sid,
  work: ({ call }) => console.log('call', call.sid, `${call.duration} s`),
});

// cllr signs nothing and sends once: the proof is a URL that nobody can guess.
receive('cllr', '/webhooks/cllr/:token', env.CLLR_TOKEN, tokenInUrl, {
  id: (body) => body.callId,
  work: ({ callId, callAnalysis }) => console.log('call', callId, callAnalysis?.summary),
});

receive('standard', '/webhooks/standard', env.STANDARD_SECRET, standardWebhooks, {
  id: (body, headers) => headers['webhook-id'],
  work: ({ type, data }) => console.log(type, data.call_id ?? data.batch_id ?? data.endpoint_id),
});

app.get('/seen', (req, res) => res.json(seen));

const server = app.listen(Number(env.PORT ?? 3000), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});

// --- The four steps.

function receive(dialect, path, secret, proof, { id: idOf, work }) {
  // Without a secret the route stays closed: an empty one would let everybody in.
  if (!secret) return;

  app.post(path, (req, res) => {
    const wrong = proof(req, secret);
    if (wrong) {
      remember({ dialect, id: null, verified: false, duplicate: false });
      return res.status(401).json({ error: 'Invalid signature', detail: wrong });
    }

    const body = JSON.parse(req.body);
    const id = idOf(body, req.headers);
    if (!id) {
      return res.status(422).json({ error: 'Unexpected body', detail: `no id where ${dialect} has one` });
    }
    const key = `${path} ${id}`;
    const duplicate = known.has(key);
    known.add(key);
    remember({ dialect, id, verified: true, duplicate });

    res.json(duplicate ? { received: true, duplicate } : { received: true });

    // What goes wrong from here on is ours to notice: the sender has its answer, and sending again would not help.
    if (!duplicate && !body.test) {
      setImmediate(async () => {
        try {
          await work(body);
        } catch (error) {
          console.error(`${dialect} ${id}:`, error);
        }
      });
    }
  });
}

function remember(entry) {
  seen.push(entry);
  if (seen.length > 1000) seen.shift();
}

// --- Proofs: each says what is wrong with a request, or null.

/** HMAC-SHA256 of the body in hex, with or without `sha256=` before it. */
function hexSignature(header) {
  return (req, secret) => {
    const given = req.get(header)?.replace(/^sha256=/, '');
    if (!given) return `the header ${header} is missing`;
    const expected = createHmac('sha256', secret).update(req.body ?? '').digest('hex');
    return isSame(given, expected) ? null : `${header} does not fit this body and our secret`;
  };
}

function bearerToken(req, token) {
  return isSame(req.get('Authorization') ?? '', `Bearer ${token}`) ? null : 'Authorization is not our bearer token';
}

function tokenInUrl(req, token) {
  return isSame(req.params.token, token) ? null : 'the URL does not end with our token';
}

/** Standard Webhooks, by the published package. It also refuses what was signed more than five minutes ago. */
function standardWebhooks(req, secret) {
  try {
    new Webhook(secret).verify(req.body ?? '', req.headers, { jsonParse: false });
    return null;
  } catch (error) {
    return error.message;
  }
}

/** Takes the same time wherever two strings differ. */
function isSame(given, expected) {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

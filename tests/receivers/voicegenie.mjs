// A receiver as seed 000 tells its readers to write one: parse, serialise again, compare the HMAC of that.
// It reads the documented fields without asking whether they are there.

import crypto from 'node:crypto';
import express from 'express';
import { listen } from './listen.mjs';

const secret = process.env.WEBHOOK_SECRET;
const app = express();

function isGenuine(payload, signature) {
  const hmac = crypto.createHmac('sha256', secret);
  return signature === hmac.update(JSON.stringify(payload)).digest('hex');
}

app.post('/', express.json(), (req, res) => {
  if (!isGenuine(req.body, req.headers['x-webhook-signature'])) {
    seen.refused();
    return res.status(401).json({ error: 'Invalid signature' });
  }
  const { call_uuid, event, call_data } = req.body;
  // The fields of the page, as its handlers read them.
  void [call_data.duration, call_data.outcome, call_data.sentiment.overall, call_data.custom_data.lead_score];
  for (const { role, content } of call_data.transcript) void [role, content.length];
  seen.verified(`${call_uuid} ${event}`);
  res.json({ success: true, message: 'Callback processed' });
});

const seen = listen(app, 'voicegenie');

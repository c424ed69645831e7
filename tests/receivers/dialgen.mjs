// A receiver as seed 002 tells its readers to write one: `express.json()` for everything, the HMAC of the serialised
// body, and the documented fields read without asking whether they are there.

import crypto from 'node:crypto';
import express from 'express';
import { listen } from './listen.mjs';

const secret = process.env.WEBHOOK_SECRET;
const app = express();
app.use(express.json());

function isGenuine(req) {
  const payload = JSON.stringify(req.body);
  const expected = crypto.createHmac('sha256', secret).update(payload).digest('hex');
  return req.headers['x-dialgen-signature'] === expected;
}

function receive(path, handle) {
  app.post(path, (req, res) => {
    if (!isGenuine(req)) {
      seen.refused();
      return res.status(401).json({ error: 'Invalid signature' });
    }
    seen.verified(handle(req.body));
    res.status(200).json({ received: true });
  });
}

receive('/webhooks/call-complete', ({ callData }) => {
  void [callData.metricJson.intent, callData.metricJson.sentiment, callData.transcription.length];
  return callData.id;
});

receive('/webhooks/batch-complete', ({ batchId, event, statistics, timestamps }) => {
  void [statistics.successRate, timestamps.completedAt.length];
  return `${batchId} ${event}`;
});

receive('/webhooks/batch-failed', ({ batchId, event, timestamp }) => {
  void timestamp.length;
  return `${batchId} ${event}`;
});

const seen = listen(app, 'dialgen');

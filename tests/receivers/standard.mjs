// A receiver that leaves the proof to the published package of Standard Webhooks, on the raw body as its manual says.

import express from 'express';
import { Webhook } from 'standardwebhooks';
import { listen } from './listen.mjs';

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const app = express();

app.post('/', express.raw({ type: 'application/json' }), (req, res) => {
  try {
    webhook.verify(req.body, req.headers);
  } catch (error) {
    seen.refused();
    return res.status(401).json({ error: error.message });
  }
  seen.verified(req.headers['webhook-id']);
  res.sendStatus(204);
});

const seen = listen(app, 'standard');

// A receiver as seed 003 tells its readers to write one. Its sample compares the bare digest with the whole header,
// which begins with `sha256=`; whoever got it to work has taken the prefix off, as is done here.

import crypto from 'node:crypto';
import express from 'express';
import { listen } from './listen.mjs';

const secret = process.env.WEBHOOK_SECRET;
const app = express();

function isGenuine(payload, signature) {
  const expected = crypto.createHmac('sha256', secret).update(JSON.stringify(payload)).digest('hex');
  return signature === expected;
}

app.post('/', express.json(), (req, res) => {
  const signature = req.headers['x-aloro-signature']?.replace('sha256=', '');
  if (!isGenuine(req.body, signature)) {
    seen.refused();
    return res.sendStatus(401);
  }
  const { call, variables, assistant, phone_number, campaign, transcript, cost } = req.body.data;
  void [call.phone, variables.summary, assistant.name, phone_number.number, campaign.name, cost.breakdown.voice];
  void [transcript.formatted.length, transcript.timestamped.length, Date.parse(req.headers['x-aloro-timestamp'])];
  seen.verified(call.id);
  res.sendStatus(200);
});

const seen = listen(app, 'aloro');

"""Receives post-call webhooks from postcall, in each of its dialects. Keep the routes that you need.

Every route does the same four things, in this order: prove who sends, know what came before, answer at once, and
only then work. A sender waits a few seconds for the answer and sends again when none comes.
"""

import base64
import hashlib
import hmac
import json
import logging
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 5 * 1024 * 1024
log = logging.getLogger("receiver")

# In a real system these two are one table with the key (dialect, id): insert the body before you answer, and a
# conflict is a duplicate. Memory forgets with every restart, also the work that was not done yet.
known = set()
seen = deque(maxlen=1000)

worker = ThreadPoolExecutor(max_workers=1)


# --- Proofs: each says what is wrong with a request, or None.
#
# All of them look at the raw bytes. Sample code for Node often signs JSON.stringify(req.body) instead; Python cannot
# imitate that, because json.dumps() writes 1.0 where JavaScript writes 1, leaves integer-like keys where they stand
# and escapes other characters. It need not: what postcall signs is exactly the bytes that it sends.


def hex_signature(header):
    """HMAC-SHA256 of the body in hex, with or without `sha256=` before it."""

    def proof(secret):
        given = request.headers.get(header, "").removeprefix("sha256=")
        if not given:
            return f"the header {header} is missing"
        expected = hmac.new(secret.encode(), request.get_data(), hashlib.sha256).hexdigest()
        return None if is_same(given, expected) else f"{header} does not fit this body and our secret"

    return proof


def bearer_token(token):
    given = request.headers.get("Authorization", "")
    return None if is_same(given, f"Bearer {token}") else "Authorization is not our bearer token"


def token_in_url(token):
    given = request.view_args["token"]
    return None if is_same(given, token) else "the URL does not end with our token"


def standard_webhooks(secret):
    """Standard Webhooks by hand: one of the signatures must fit, and it must not be old."""
    message_id = request.headers.get("webhook-id", "")
    timestamp = request.headers.get("webhook-timestamp", "")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + request.get_data()
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    # Several while a secret is being rotated.
    signatures = request.headers.get("webhook-signature", "").split(" ")
    if not any(is_same(signature, expected) for signature in signatures):
        return "webhook-signature does not fit this body and our secret"
    if abs(time.time() - int(timestamp)) > 5 * 60:
        return "webhook-timestamp is more than five minutes away"
    return None


def is_same(given, expected):
    """Takes the same time wherever two strings differ."""
    return hmac.compare_digest(given.encode(), expected.encode())


# --- The four steps.


def receive(dialect, path, variable, proof, id_of):
    """Opens a route; the function below it is the work."""

    def open_route(work):
        secret = os.environ.get(variable)
        # Without a secret the route stays closed: an empty one would let everybody in.
        if not secret:
            return work

        def handle(**_):
            wrong = proof(secret)
            if wrong:
                seen.append({"dialect": dialect, "id": None, "verified": False, "duplicate": False})
                return jsonify(error="Invalid signature", detail=wrong), 401

            body = json.loads(request.get_data())
            try:
                event_id = id_of(body)
            except (KeyError, TypeError):
                return jsonify(error="Unexpected body", detail=f"no id where {dialect} has one"), 422
            duplicate = (path, event_id) in known
            known.add((path, event_id))
            seen.append({"dialect": dialect, "id": event_id, "verified": True, "duplicate": duplicate})

            if not duplicate and not body.get("test"):
                worker.submit(run, work, body)
            return jsonify(received=True, duplicate=True) if duplicate else jsonify(received=True)

        app.add_url_rule(path, path, handle, methods=["POST"])
        return work

    return open_route


def run(work, body):
    """What goes wrong in here is ours to notice: the sender has its answer, and sending again would not help."""
    try:
        work(body)
    except Exception:
        log.exception("the work failed")


# --- The routes: a dialect, where it arrives, secret and proof, what makes two events the same, and the work.
#
# %r, because a transcript may hold half an emoji, which print() cannot encode.


@receive("voicegenie", "/webhooks/voicegenie", "VOICEGENIE_SECRET", hex_signature("X-Webhook-Signature"),
         lambda body: f"{body['call_uuid']} {body['event']}")
def voicegenie(body):
    log.info("%s %r %r", body["event"], body["call_uuid"], body["call_data"].get("outcome"))


@receive("dialgen", "/webhooks/dialgen/call-complete", "DIALGEN_SECRET", hex_signature("X-Dialgen-Signature"),
         lambda body: body["callData"]["id"])
def dialgen_call_complete(body):
    call = body["callData"]
    log.info("call %r %s %r", call["id"], call["status"], call.get("summary"))


@receive("dialgen", "/webhooks/dialgen/batch-complete", "DIALGEN_SECRET", hex_signature("X-Dialgen-Signature"),
         lambda body: f"{body['batchId']} {body['event']}")
def dialgen_batch_complete(body):
    log.info("batch %r success rate %s%%", body["batchId"], body["statistics"].get("successRate"))


@receive("aloro", "/webhooks/aloro", "ALORO_SECRET", hex_signature("X-Aloro-Signature"),
         lambda body: body["data"]["call"]["id"])
def aloro(body):
    call, variables = body["data"]["call"], body["data"]["variables"]
    log.info("call %r %s %r", call["id"], call["status"], variables.get("summary"))


@receive("air", "/webhooks/air", "AIR_TOKEN", bearer_token, lambda body: body["call"]["sid"])
def air(body):
    log.info("call %r %s s", body["call"]["sid"], body["call"].get("duration"))


# cllr signs nothing and sends once: the proof is a URL that nobody can guess.
@receive("cllr", "/webhooks/cllr/<token>", "CLLR_TOKEN", token_in_url, lambda body: body["callId"])
def cllr(body):
    log.info("call %r %r", body["callId"], body.get("callAnalysis", {}).get("summary"))


@receive("standard", "/webhooks/standard", "STANDARD_SECRET", standard_webhooks,
         lambda body: request.headers["webhook-id"])
def standard(body):
    data = body["data"]
    log.info("%s %r", body["type"], data.get("call_id") or data.get("batch_id") or data.get("endpoint_id"))


@app.get("/seen")
def get_seen():
    return jsonify(list(seen))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    server = make_server("127.0.0.1", int(os.environ.get("PORT", "3000")), app, threaded=True)
    print(f"listening on 127.0.0.1:{server.port}", flush=True)
    server.serve_forever()

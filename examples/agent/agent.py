#!/usr/bin/env python3
"""A sample external agent: the External Agent Protocol (EAP 1.0) in one file, with Python's standard library alone.

    EAP_TOKEN=a-secret-of-yours ./agent.py --port 9200                            # is called
    ORCHESTRATOR_KEY=a-lead's-key ./agent.py --register http://127.0.0.1:8080    # registers, and is called
    ORCHESTRATOR_KEY=a-lead's-key ./agent.py --pull --server http://127.0.0.1:8080   # asks for its tasks

What it has to keep is in docs/eap.md. To make an agent of your own of it, replace `work`. The flags below "to see how
others cope" make it misbehave on purpose, for tests and for the curious.

A task is known by its id. Asked for the same one again, it answers what it answered before, or that it still works: so
an orchestrator that lost an answer may simply ask once more, and the work is done once.
"""

import argparse
import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "1.0"
BODY_BYTES = 8 * 1024 * 1024  # the protocol asks for 4 MiB at least
REPORT_EVERY = 1.0  # seconds between reports while there is something new to say
LEASE_WAIT = 20  # seconds that one question for a task may take
TRIES = 5  # of handing over a result
KEPT_TASKS = 1000  # ended ones; the oldest are forgotten
MISBEHAVIOURS = ("no-auth", "twice", "strict", "bad-json", "escape", "wrong-id", "undying")
FIELDS = {"task_id", "session_id", "task_type", "context", "input_data", "requirements", "timeout_seconds"}
# Prices of a model that does not exist, for a word read and a word written.
READ_PRICE, WRITE_PRICE = 0.000003, 0.000015


def work(task, report, cancelled):
    """The agent's own business. `report(fraction, message)` shows how far it is; when `cancelled()`, it should return.

    This one writes the prompt into AGENT.md, and below each file that it was given."""
    began, context = time.time(), task.get("context") or {}
    prompt, files = context.get("prompt", ""), context.get("files") or []
    note = f"# {context.get('title', '')}\n\n{prompt}\n"
    artifacts = [{"path": "AGENT.md", "content": note, "mime_type": "text/markdown"}]
    for number, file in enumerate(files):
        if cancelled():
            break
        report(number / len(files), f"writing {file['path']}")
        artifacts.append({"path": file["path"], "content": f"{file['content']}{prompt}\n", "mime_type": "text/plain"})
    read = len(prompt.split()) + sum(len(file["content"].split()) for file in files)
    written = sum(len(artifact["content"].split()) for artifact in artifacts)
    return {
        "status": "completed",
        "artifacts": artifacts,
        "output_data": {
            "summary": f"files written: {len(artifacts)}",
            "began": began,
            "input_data": task.get("input_data") or {},
        },
        "tokens_used": read + written,
        "input_tokens": read,
        "cost_usd": read * READ_PRICE + written * WRITE_PRICE,
    }


class Task:
    """One task, while it is worked on and after."""

    def __init__(self, body):
        self.body = body
        self.progress = {"fraction": 0.0, "message": "begun"}
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self.answer = None

    @property
    def id(self):
        return self.body["task_id"]

    def is_lost(self):
        """True when there is no good answer to wait for."""
        return self.answer["status"] == "failed" if self.ended.is_set() else self.cancelled.is_set()

    def report(self, fraction, message):
        self.progress = {"fraction": fraction, "message": message}

    def run(self, options, note):
        note(f"begin {self.id}")
        began = time.monotonic()
        try:
            self.take_your_time(options.slow)
            answer = work(self.body, self.report, self.cancelled.is_set)
        except Exception as error:  # whatever it is, whoever asked has to be told
            answer = {"status": "failed", "error_message": f"{type(error).__name__}: {error}"}
        if self.cancelled.is_set():
            answer = {"status": "failed", "error_message": "cancelled"}
        if "escape" in options.misbehave:
            answer["artifacts"] = [{"path": "../escaped.txt", "content": "I should not be here", "mime_type": "text/plain"}]
        answer["task_id"] = "somebody-elses" if "wrong-id" in options.misbehave else self.id
        answer["execution_time_ms"] = int((time.monotonic() - began) * 1000)
        self.answer = answer
        note(f"end {self.id} {answer['status']}")
        self.ended.set()

    def take_your_time(self, seconds):
        steps = max(1, int(seconds * 4)) if seconds else 0
        for step in range(steps):
            if self.cancelled.wait(seconds / steps):
                return
            self.report((step + 1) / steps, f"step {step + 1} of {steps}")


class Agent:
    """All tasks that are known, and what was said on the command line."""

    def __init__(self, options, token):
        self.options, self.token = options, token
        self.failures_left = options.fail_first
        self.lock = threading.Lock()
        self.tasks = {}

    def note(self, line):
        """Keeps a line of what happens, where that was asked for."""
        if self.options.journal:
            with self.lock, open(self.options.journal, "a", encoding="utf-8") as journal:
                journal.write(line + "\n")

    def fails_now(self):
        with self.lock:
            self.failures_left -= 1
            return self.failures_left >= 0

    def take(self, body):
        """The task of this id: the one that is known, or a new one that has begun. One that failed is begun anew."""
        with self.lock:
            known = self.tasks.get(body["task_id"])
            if known and not known.is_lost() and "twice" not in self.options.misbehave:
                return known
            task = self.tasks[body["task_id"]] = Task(body)
            ended = [key for key, other in self.tasks.items() if other.ended.is_set()]
            for key in ended[: max(0, len(ended) - KEPT_TASKS)]:
                del self.tasks[key]
        threading.Thread(target=task.run, args=(self.options, self.note), daemon=True).start()
        return task

    def find(self, task_id):
        with self.lock:
            return self.tasks.get(task_id)

    def busy(self):
        with self.lock:
            return sum(1 for task in self.tasks.values() if not task.ended.is_set())


class Lost(Exception):
    """The server has given the task to somebody else, or does not want it any more."""


class Registration:
    """The agent's own word at a server: that it is there, what it can do, and how it is."""

    def __init__(self, options, key, agent, url=None):
        """`url` is where the agent is called; without, it asks for its tasks."""
        self.options, self.key, self.agent, self.url = options, key, agent, url
        # No proxy: tokens go to the server and nowhere else.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.place, self.beat_every = None, None

    def register(self):
        headers = {"Authorization": f"Bearer {self.key}"}
        if self.options.tenant:
            headers["X-Tenant-ID"] = self.options.tenant
        body = {
            "protocol_version": VERSION,
            "name": self.options.name,
            "version": VERSION,
            "agent_type": "sample",
            "capabilities": [word for word in self.options.can.split(",") if word],
            "max_concurrent_tasks": self.options.capacity,
        }
        if self.url:
            body["endpoint_url"] = self.url
        _, made = self.post("register", body, headers)
        # The only one that counts from now on, in both directions.
        self.agent.token = made["auth_token"]
        self.place, self.beat_every = made["agent_id"], made["heartbeat_interval_seconds"]
        self.agent.note(f"registered {self.place}")

    def beat(self):
        busy = self.agent.busy()
        body = {"status": "healthy", "current_load": min(1, busy / self.options.capacity), "tasks_in_progress": busy}
        self.post(f"{self.place}/heartbeat", body)
        time.sleep(self.beat_every)

    def beat_for_ever(self):
        """Registers again where the server knows the agent no more, or knows it by another token."""
        while True:
            try:
                self.beat()
            except OSError as error:  # the server is away: it may come back
                print(f"no heartbeat: {error}", file=sys.stderr, flush=True)
                time.sleep(1)
                if isinstance(error, urllib.error.HTTPError) and error.code in (401, 404):
                    self.register_again()

    def register_again(self):
        try:
            self.register()
        except OSError as error:  # the next beat tries again
            print(f"not registered: {error}", file=sys.stderr, flush=True)

    def post(self, address, body, headers=None):
        headers = {"Content-Type": "application/json", **(headers or {"X-Agent-Token": self.agent.token})}
        url = f"{self.options.server.rstrip('/')}/api/v1/agents/external/{address}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        with self.opener.open(request, timeout=LEASE_WAIT + 20) as response:
            answer = response.read()
            return response.status, json.loads(answer) if answer else None


class Puller(Registration):
    """Asks the server for tasks, and tells it how they go. It has no address, so it may stand behind a firewall."""

    def __init__(self, options, key):
        super().__init__(options, key, Agent(options, token=None))

    def run(self):
        self.register()
        print(f"registered as {self.options.name}, {self.place}", flush=True)
        for _ in range(self.options.capacity):
            threading.Thread(target=self.forever, args=(self.pull,), daemon=True).start()
        self.forever(self.beat)

    def forever(self, act):
        while True:
            try:
                act()
            except (OSError, ValueError) as error:  # the server is away: it may come back
                if isinstance(error, urllib.error.HTTPError) and error.code in (401, 404):
                    print(f"the server does not know this agent any more: {error}", file=sys.stderr, flush=True)
                    os._exit(1)
                time.sleep(1)

    def pull(self):
        status, leased = self.post(f"{self.place}/tasks/lease", {"wait_seconds": LEASE_WAIT})
        if status != 200:
            return
        lease = leased["lease"]
        self.agent.note(f"LEASE {leased['task']['task_id']}")
        task = self.agent.take(leased["task"])
        try:
            self.attend(task, lease)
        except Lost as lost:
            task.cancelled.set()
            self.agent.note(f"LOST {task.id} {lost}")

    def attend(self, task, lease):
        """Reports what is new, and often enough to keep the lease, then hands the result over."""
        address = f"{self.place}/tasks/{task.id}"
        said, said_at = None, 0.0
        while not task.ended.wait(REPORT_EVERY):
            if task.progress != said or time.monotonic() - said_at > lease["renew_within"] / 2:
                said, said_at = task.progress, time.monotonic()
                self.tell(f"{address}/progress", {"lease_id": lease["id"], "progress": said})
        for attempt in range(TRIES):
            if self.tell(f"{address}/result", {**task.answer, "lease_id": lease["id"]}):
                return
            time.sleep(2**attempt)

    def tell(self, address, body):
        """False when the server could not be reached; what is not said now is said later, as long as the lease lasts."""
        try:
            self.post(address, body)
            return True
        except urllib.error.HTTPError as error:
            if error.code in (404, 409):
                raise Lost(json.loads(error.read() or b"{}").get("code", error.code)) from error
            if error.code < 500:
                raise
            return False
        except OSError:
            return False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    agent = None

    def do_GET(self):
        if self.path == "/health":
            busy = self.agent.busy()
            return self.answer(200, {"status": "healthy", "protocol_version": VERSION, "tasks_in_progress": busy})
        task = self.authorized() and self.known()
        if task:
            self.tell(task)

    def do_DELETE(self):
        task = self.authorized() and self.known()
        if task:
            self.agent.note(f"DELETE {task.id}")
            if "undying" not in self.agent.options.misbehave:
                task.cancelled.set()
            self.answer(204)

    def do_POST(self):
        body = self.read_body()
        if body is None or not self.authorized():
            return None
        if self.path != "/task":
            return self.refuse(404, "NOT_FOUND", "tasks are taken at /task")
        try:
            body = json.loads(body)
        except ValueError as error:
            return self.refuse(500 if "bad-json" in self.agent.options.misbehave else 400, "BAD_JSON", str(error))
        wrong = self.mistake(body)
        if wrong:
            return self.refuse(400, "BAD_TASK", wrong)
        self.agent.note(f"POST {body['task_id']}")
        if self.agent.options.silent:
            return threading.Event().wait()
        if self.agent.fails_now():
            return self.refuse(503, "BUSY", "not now, says --fail-first")
        task = self.agent.take(body)
        task.ended.wait(0 if self.agent.options.later else self.agent.options.patience)
        self.tell(task)

    def mistake(self, body):
        if not isinstance(body, dict):
            return "a task is a JSON object"
        for name in ("task_id", "session_id"):
            if not isinstance(body.get(name), str) or not body[name]:
                return f"`{name}` is missing, or is no text"
        if "strict" in self.agent.options.misbehave and set(body) - FIELDS:
            return f"unknown fields: {sorted(set(body) - FIELDS)}"
        return None

    def tell(self, task):
        if task.ended.is_set():
            return self.answer(200, task.answer)
        return self.answer(202, {"task_id": task.id, "status": "running", "progress": task.progress})

    def known(self):
        task = self.agent.find(self.path.removeprefix("/task/")) if self.path.startswith("/task/") else None
        if task is None:
            self.refuse(404, "TASK_NOT_FOUND", "this agent knows no such task")
        return task

    def authorized(self):
        given = self.headers.get("X-Agent-Token", "")
        if hmac.compare_digest(given.encode(), self.agent.token.encode()) or "no-auth" in self.agent.options.misbehave:
            return True
        self.refuse(401, "WRONG_TOKEN", "X-Agent-Token is missing or wrong")
        return False

    def read_body(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            return self.refuse(411, "LENGTH_REQUIRED", "Content-Length is missing")
        if int(length) > BODY_BYTES:
            self.close_connection = True
            return self.refuse(413, "TOO_LARGE", f"a task may have {BODY_BYTES} bytes")
        return self.rfile.read(int(length))

    def refuse(self, status, code, detail):
        self.answer(status, {"code": code, "detail": detail})

    def answer(self, status, document=None):
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        if self.agent.options.verbose:
            super().log_message(format, *args)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        # A client that hangs up before its answer is no error of ours.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def options():
    parser = argparse.ArgumentParser(description="A sample external agent (EAP 1.0).")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9200, help="0: a free one, printed at the start")
    parser.add_argument("--token-env", default="EAP_TOKEN", metavar="NAME", help="the variable with the token")
    parser.add_argument("--later", action="store_true", help="take every task with 202 and have the answer fetched")
    parser.add_argument("--patience", type=float, default=20, metavar="SECONDS", help="answer 202 to what takes longer")
    parser.add_argument("--journal", metavar="FILE", help="write a line for each request, beginning and end")
    parser.add_argument("--verbose", action="store_true", help="print every request")
    pull = parser.add_argument_group("to be known to a server, and be called there or ask for tasks")
    pull.add_argument("--register", metavar="SERVER", help="register with this server, to be called")
    pull.add_argument("--url", metavar="URL", help="where this agent is called [default: its host and port]")
    pull.add_argument("--pull", action="store_true", help="register with --server and ask it for tasks")
    pull.add_argument("--server", metavar="URL", help="where it is")
    pull.add_argument("--key-env", default="ORCHESTRATOR_KEY", metavar="NAME", help="the variable with a lead's key")
    pull.add_argument("--tenant", metavar="SLUG", help="for whom, where the key opens several tenants")
    pull.add_argument("--name", default="SAMPLE", help="A-Z, 0-9, _ and -; one process a name")
    pull.add_argument("--can", default="documentation", metavar="WHAT,..", help="what it can do")
    pull.add_argument("--capacity", type=int, default=1, metavar="N", help="tasks at once")
    others = parser.add_argument_group("to see how others cope")
    others.add_argument("--slow", type=float, default=0, metavar="SECONDS", help="work for so long")
    others.add_argument("--fail-first", type=int, default=0, metavar="N", help="answer 503 to the first N tasks")
    others.add_argument("--silent", action="store_true", help="take tasks and never answer")
    others.add_argument("--no-beat", action="store_true", help="register, and leave it to the server to ask at /health")
    others.add_argument("--misbehave", default="", metavar="HOW,..", help=", ".join(MISBEHAVIOURS))
    said = parser.parse_args()
    said.misbehave = {how for how in said.misbehave.split(",") if how}
    unknown = said.misbehave - set(MISBEHAVIOURS)
    if unknown:
        parser.error(f"--misbehave knows no {', '.join(sorted(unknown))}")
    if said.pull and not said.server:
        parser.error("--pull needs --server")
    said.server = said.register or said.server
    return said


def at_server(said, act):
    """What cannot begin without the server."""
    key = os.environ.get(said.key_env, "")
    if not key:
        sys.exit(f"set {said.key_env} to a key that may register agents")
    try:
        act(key)
    except urllib.error.HTTPError as error:
        sys.exit(f"the server does not register this agent: {error} {error.read().decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"the server cannot be reached: {error}")
    except KeyboardInterrupt:
        pass


def introduce(said, key, url):
    """Registers, and beats from now on."""
    registration = Registration(said, key, Handler.agent, said.url or url)
    registration.register()
    if not said.no_beat:
        threading.Thread(target=registration.beat_for_ever, daemon=True).start()


def main():
    said = options()
    if said.pull:
        return at_server(said, lambda key: Puller(said, key).run())
    token = os.environ.get(said.token_env, "")
    if not token and not said.register:
        sys.exit(f"set {said.token_env} to the token that the orchestrator is to send")
    Handler.agent = Agent(said, token)
    server = Server((said.host, said.port), Handler)
    url = f"http://{said.host}:{server.server_port}"
    if said.register:
        # Calls that come before they are served wait in the socket's queue.
        at_server(said, lambda key: introduce(said, key, url))
    print(f"listening on {url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A sample external agent: the External Agent Protocol (EAP 1.0) in one file, with Python's standard library alone.

    EAP_TOKEN=a-secret-of-yours ./agent.py --port 9200
    ORCHESTRATOR_KEY=the-key-of-a-lead ./agent.py --register http://127.0.0.1:8080
    ORCHESTRATOR_KEY=the-key-of-a-lead ./agent.py --pull --server http://127.0.0.1:8080

The last one listens to nobody: it asks the orchestrator for its tasks.

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
LEASE_WAIT = 20  # seconds that one question for a task may take
REPORT_EVERY = 1.0  # seconds between reports while there is something new to say
HELD_LOOK = 0.05  # seconds between looks whether `--hold` is over
TRIES = 5  # of handing a result over
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
    feedback = context.get("feedback")  # what is wrong with what was sent before
    if feedback:
        note += f"\n## To mend\n\n{feedback}\n"
    artifacts = [{"path": "AGENT.md", "content": note, "mime_type": "text/markdown"}]
    for number, file in enumerate(files):
        if cancelled():
            break
        report(number / len(files), f"writing {file['path']}")
        artifacts.append({"path": file["path"], "content": f"{file['content']}{prompt}\n", "mime_type": "text/plain"})
    read = len(prompt.split()) + sum(len(file["content"].split()) for file in files)
    written = sum(len(artifact["content"].split()) for artifact in artifacts)
    output = {
        "summary": f"files written: {len(artifacts)}",
        "confidence": 0.9,  # in its own work, from 0 to 1; may be left out
        "began": began,
        "task_type": task.get("task_type"),
        "input_data": task.get("input_data") or {},
    }
    if "output_schema" in context:  # an agent of your own makes what fits the schema
        output["output"] = {"files": len(artifacts), "mended": bool(feedback)}
    return {
        "status": "completed",
        "artifacts": artifacts,
        "output_data": output,
        "tokens_used": read + written,
        "input_tokens": read,
        "cost_usd": read * READ_PRICE + written * WRITE_PRICE,
    }


def is_held(options):
    """True while the thread that has a task is to hang, in a process that lives."""
    return options.hold is not None and os.path.exists(options.hold)


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
            while is_held(options) and not self.cancelled.wait(HELD_LOOK):
                pass
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


class Registration:
    """The agent's own word at an orchestrator: that it is there, what it can do, and how it is."""

    def __init__(self, server, key, agent):
        self.server, self.key, self.agent = server.rstrip("/"), key, agent
        self.id, self.interval = None, 10
        # An orchestrator is reached directly.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, path, body, headers, timeout=10):
        """The answer's document; urllib.error.HTTPError where the server refuses."""
        headers = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.server + path, json.dumps(body).encode(), headers, method="POST")
        with self.opener.open(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"null")

    def register(self, url):
        """With the address where tasks are taken, or None. The token that this answers is the only one that counts."""
        said = self.agent.options
        body = {
            "protocol_version": VERSION,
            "name": said.name,
            "version": "1.0",
            "agent_type": "sample",
            "capabilities": said.can.split(","),
            "endpoint_url": url,
            "max_concurrent_tasks": said.capacity,
        }
        headers = {"Authorization": f"Bearer {self.key}"}
        if said.tenant:
            headers["X-Tenant-ID"] = said.tenant
        made = self.call("/api/v1/agents/external/register", body, headers)
        self.id, self.interval = made["agent_id"], made["heartbeat_interval_seconds"]
        self.agent.token = made["auth_token"]
        self.agent.note(f"registered {self.id}")

    def beat(self):
        busy = self.agent.busy()
        load = min(1.0, busy / self.agent.options.capacity)
        body = {"status": "healthy", "current_load": load, "tasks_in_progress": busy}
        self.say("heartbeat", body)

    def say(self, what, body, timeout=10):
        """Something that only this agent may say."""
        path = f"/api/v1/agents/external/{self.id}/{what}"
        return self.call(path, body, {"X-Agent-Token": self.agent.token}, timeout)

    def beat_for_ever(self, url):
        """An agent that is not known any more, or whose token is another one by now, registers again."""
        while True:
            try:
                self.beat()
            except urllib.error.HTTPError as error:
                if error.code in (401, 404):
                    self.try_to(lambda: self.register(url))
            except OSError as error:
                print(f"the orchestrator was not reached: {error}", file=sys.stderr, flush=True)
            time.sleep(self.interval)

    def try_to(self, do):
        try:
            do()
        except OSError as error:  # the next beat tries again
            print(f"not registered: {error}", file=sys.stderr, flush=True)


class Lost(Exception):
    """The task is somebody else's by now, or nobody wants it."""


class Puller:
    """Asks for tasks, says how far they are, and hands over what they came to: an agent that needs no address."""

    def __init__(self, registration, agent):
        self.registration, self.agent = registration, agent

    def pull_for_ever(self):
        while True:
            try:
                self.pull()
            except OSError as error:  # the orchestrator is away, or this agent is to register again, which the beats do
                print(f"no task could be asked for: {error}", file=sys.stderr, flush=True)
                time.sleep(1)

    def pull(self):
        leased = self.registration.say("tasks/lease", {"wait_seconds": LEASE_WAIT}, timeout=LEASE_WAIT + 20)
        if leased is None:
            return
        self.agent.note(f"LEASE {leased['task']['task_id']}")
        task = self.agent.take(leased["task"])
        try:
            self.attend(task, leased["lease"])
        except Lost as lost:
            task.cancelled.set()
            self.agent.note(f"LOST {task.id} {lost}")

    def attend(self, task, lease):
        """Says what is new, and something often enough to keep the lease; then hands the result over."""
        said, said_at = None, 0.0
        while is_held(self.agent.options):
            time.sleep(HELD_LOOK)
        while not task.ended.wait(REPORT_EVERY):
            if task.progress != said or time.monotonic() - said_at > lease["renew_within"] / 2:
                progress = task.progress
                if self.tell(task, "progress", {"lease_id": lease["id"], "progress": progress}):
                    said, said_at = progress, time.monotonic()
        for attempt in range(TRIES):
            if self.tell(task, "result", {**task.answer, "lease_id": lease["id"]}):
                return
            time.sleep(2**attempt)

    def tell(self, task, what, body):
        """False when nobody heard it; it may be said again as long as the lease lasts."""
        try:
            self.registration.say(f"tasks/{task.id}/{what}", body)
            return True
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise Lost(json.loads(error.read() or b"{}").get("code", error.code)) from error
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
    orchestrator = parser.add_argument_group("to be known to an orchestrator")
    orchestrator.add_argument("--register", metavar="SERVER", help="register there, with the key in ORCHESTRATOR_KEY, and beat")
    orchestrator.add_argument("--pull", action="store_true", help="register with --server, and ask there for tasks")
    orchestrator.add_argument("--server", metavar="URL", help="the orchestrator, for --pull")
    orchestrator.add_argument("--tenant", metavar="SLUG", help="for whom, where the key opens several tenants")
    orchestrator.add_argument("--url", metavar="URL", help="where this agent is to be called [default: host and port]")
    orchestrator.add_argument("--name", default="SAMPLE", help="A-Z, 0-9, _ and -")
    orchestrator.add_argument("--can", default="code_editing", metavar="CAPABILITY,..")
    orchestrator.add_argument("--capacity", type=int, default=4, metavar="N", help="tasks at once")
    others = parser.add_argument_group("to see how others cope")
    others.add_argument("--slow", type=float, default=0, metavar="SECONDS", help="work for so long")
    others.add_argument("--fail-first", type=int, default=0, metavar="N", help="answer 503 to the first N tasks")
    others.add_argument("--hold", metavar="FILE", help="while FILE is there, hand nothing over, and say nothing of pulled tasks")
    others.add_argument("--silent", action="store_true", help="take tasks and never answer")
    others.add_argument("--no-beat", action="store_true", help="register and leave it to the server to ask at /health")
    others.add_argument("--misbehave", default="", metavar="HOW,..", help=", ".join(MISBEHAVIOURS))
    said = parser.parse_args()
    said.misbehave = {how for how in said.misbehave.split(",") if how}
    unknown = said.misbehave - set(MISBEHAVIOURS)
    if said.pull and not said.server:
        parser.error("--pull needs --server")
    if unknown:
        parser.error(f"--misbehave knows no {', '.join(sorted(unknown))}")
    return said


def introduce(said, server, agent, url):
    """Registers, and beats from now on. Until the server below answers, calls wait in its queue."""
    key = os.environ.get("ORCHESTRATOR_KEY", "")
    if not key:
        sys.exit("set ORCHESTRATOR_KEY to the key of a lead, to register with")
    registration = Registration(server, key, agent)
    try:
        registration.register(url)
    except urllib.error.HTTPError as error:
        sys.exit(f"not registered: {error}: {error.read(2000).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"not registered: {error}")
    if not said.no_beat:
        threading.Thread(target=registration.beat_for_ever, args=(url,), daemon=True).start()
    return registration


def pull(said):
    agent = Agent(said, token=None)
    puller = Puller(introduce(said, said.server, agent, url=None), agent)
    print(f"asking {said.server} for tasks", flush=True)
    threads = [threading.Thread(target=puller.pull_for_ever, daemon=True) for _ in range(said.capacity)]
    for thread in threads:
        thread.start()
    try:
        threads[0].join()
    except KeyboardInterrupt:
        pass


def main():
    said = options()
    if said.pull:
        return pull(said)
    token = os.environ.get(said.token_env, "")
    if not token and not said.register:
        sys.exit(f"set {said.token_env} to the token that the orchestrator is to send")
    Handler.agent = Agent(said, token)
    server = Server((said.host, said.port), Handler)
    own = f"http://{said.host}:{server.server_port}"
    if said.register:
        introduce(said, said.register, Handler.agent, said.url or own)
    print(f"listening on {own}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

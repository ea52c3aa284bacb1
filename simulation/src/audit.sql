-- Every change of a row that matters to dispatch, in order, for the checks. Only the simulation's store has these.

CREATE TABLE audit (
    n    integer PRIMARY KEY,
    what text NOT NULL,
    id   blob NOT NULL,
    says text NOT NULL
) STRICT;

CREATE TRIGGER audit_job_new AFTER INSERT ON jobs BEGIN
    INSERT INTO audit (what, id, says) VALUES ('job', NEW.id, json_array(
        hex(NEW.tenant_id), NEW.kind, NEW.state, NEW.attempt, NEW.failures, NEW.max_attempts, NEW.fence,
        hex(NEW.worker_id), NEW.event_seq, NEW.run_after, NEW.stop_requested_at, NEW.due, NEW.turn, NEW.queued_at,
        NEW.fingerprint IS NOT NULL, NEW.priority, NEW.deadline, NEW.if_prerequisite_fails,
        json(coalesce(NEW.requires, '{}')), json(NEW.depends_on), NEW.pause_requested_at));
END;
CREATE TRIGGER audit_job_changed AFTER UPDATE ON jobs BEGIN
    INSERT INTO audit (what, id, says) VALUES ('job', NEW.id, json_array(
        hex(NEW.tenant_id), NEW.kind, NEW.state, NEW.attempt, NEW.failures, NEW.max_attempts, NEW.fence,
        hex(NEW.worker_id), NEW.event_seq, NEW.run_after, NEW.stop_requested_at, NEW.due, NEW.turn, NEW.queued_at,
        NEW.fingerprint IS NOT NULL, NEW.priority, NEW.deadline, NEW.if_prerequisite_fails,
        json(coalesce(NEW.requires, '{}')), json(NEW.depends_on), NEW.pause_requested_at));
END;
CREATE TRIGGER audit_job_gone AFTER DELETE ON jobs BEGIN
    INSERT INTO audit (what, id, says) VALUES ('gone', OLD.id, '[]');
END;

CREATE TRIGGER audit_event AFTER INSERT ON job_events BEGIN
    INSERT INTO audit (what, id, says) VALUES ('event', NEW.job_id, json_array(NEW.seq, NEW.kind, NEW.attempt));
END;
CREATE TRIGGER audit_event_changed AFTER UPDATE ON job_events BEGIN
    INSERT INTO audit (what, id, says) VALUES ('gone', NEW.job_id, json_array('event', NEW.seq));
END;

CREATE TRIGGER audit_attempt AFTER INSERT ON job_attempts BEGIN
    INSERT INTO audit (what, id, says) VALUES ('attempt', NEW.job_id, json_array(
        NEW.number, hex(NEW.worker_id), NEW.finished_at, NEW.outcome));
END;
CREATE TRIGGER audit_attempt_changed AFTER UPDATE ON job_attempts BEGIN
    INSERT INTO audit (what, id, says) VALUES ('attempt', NEW.job_id, json_array(
        NEW.number, hex(NEW.worker_id), NEW.finished_at, NEW.outcome));
END;

CREATE TRIGGER audit_log AFTER INSERT ON job_logs BEGIN
    INSERT INTO audit (what, id, says) VALUES ('said', NEW.job_id, json_array(NEW.attempt, 'log', NEW.number, NULL));
END;
CREATE TRIGGER audit_checkpoint AFTER INSERT ON checkpoints BEGIN
    INSERT INTO audit (what, id, says) VALUES ('said', NEW.job_id, json_array(
        NEW.attempt, 'checkpoint', NEW.number, NEW.data));
END;

CREATE TRIGGER audit_edge_new AFTER INSERT ON job_dependencies BEGIN
    INSERT INTO audit (what, id, says) VALUES ('edge', NEW.job_id, json_array(hex(NEW.depends_on), NEW.met));
END;
CREATE TRIGGER audit_edge_changed AFTER UPDATE ON job_dependencies BEGIN
    INSERT INTO audit (what, id, says) VALUES ('edge', NEW.job_id, json_array(hex(NEW.depends_on), NEW.met));
END;
CREATE TRIGGER audit_edge_gone AFTER DELETE ON job_dependencies BEGIN
    INSERT INTO audit (what, id, says) VALUES ('told', OLD.job_id, json_array(hex(OLD.depends_on)));
END;

CREATE TRIGGER audit_slots_new AFTER INSERT ON tenant_slots BEGIN
    INSERT INTO audit (what, id, says) VALUES ('slots', NEW.tenant_id, json_array(
        NEW.kind, NEW.quota, NEW.running, NEW.pending, NEW.queued, NEW.due, NEW.published, NEW.paused, NEW.draining,
        NEW.version));
END;
CREATE TRIGGER audit_slots_changed AFTER UPDATE ON tenant_slots BEGIN
    INSERT INTO audit (what, id, says) VALUES ('slots', NEW.tenant_id, json_array(
        NEW.kind, NEW.quota, NEW.running, NEW.pending, NEW.queued, NEW.due, NEW.published, NEW.paused, NEW.draining,
        NEW.version));
END;

CREATE TRIGGER audit_tenant AFTER UPDATE ON tenants BEGIN
    INSERT INTO audit (what, id, says) VALUES ('tenant', NEW.id, json_array(
        NEW.active, NEW.weight, NEW.budget_until IS NOT NULL));
END;

CREATE TRIGGER audit_worker_new AFTER INSERT ON workers BEGIN
    INSERT INTO audit (what, id, says) VALUES ('worker', NEW.id, json_array(
        NEW.epoch, NEW.lease_until, NEW.draining, NEW.capacity, json(NEW.kinds), json(NEW.labels)));
END;
CREATE TRIGGER audit_worker_changed AFTER UPDATE ON workers BEGIN
    INSERT INTO audit (what, id, says) VALUES ('worker', NEW.id, json_array(
        NEW.epoch, NEW.lease_until, NEW.draining, NEW.capacity, json(NEW.kinds), json(NEW.labels)));
END;
CREATE TRIGGER audit_worker_gone AFTER DELETE ON workers BEGIN
    INSERT INTO audit (what, id, says) VALUES ('left', OLD.id, '[]');
END;

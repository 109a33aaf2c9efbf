-- How many tenants there are up to a position: each has one first event, and few events are one.
CREATE INDEX ON service.events (notification_id) WHERE originator_version = 1 AND originator_id = tenant_id;

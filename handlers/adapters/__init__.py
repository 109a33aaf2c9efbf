"""What steps of sagas touch: tenants' schemas and roles, buckets, keys, notices."""

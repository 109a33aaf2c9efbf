import httpx


async def test_smoke(operator: httpx.AsyncClient) -> None:
    r = await operator.post(
        "/api/v1/tenants",
        json={"name": "A", "subdomain": "acme", "admin": {"email": "a@b.example", "name": "x"}},
        headers={"Idempotency-Key": "k"},
    )
    print(r.status_code, r.headers, r.text)
    t = r.json()["tenant_id"]
    p = r.json()["position"]
    r2 = await operator.post(
        "/api/v1/tenants",
        json={"name": "A", "subdomain": "acme", "admin": {"email": "a@b.example", "name": "x"}},
        headers={"Idempotency-Key": "k"},
    )
    assert r2.content == r.content
    for path in (
        f"/{t}?min_position={p}",
        "",
        "?limit=1&search=A",
        "?subdomain=acme",
        f"/{t}/operations",
        f"/{t}/operations/{r.json()['operation_id']}",
        f"/{t}/history?types=tenant.provisioning_started",
        f"/{t}/as-of?version=1",
        f"/{t}/queries/outcome?command_id={r.json()['command_id']}",
        f"/{t}/users",
        "/x",
        f"/{t}?limit=3",
        "?limit=x",
    ):
        r = await operator.get("/api/v1/tenants" + path)
        print(path, r.status_code, r.headers, r.text[:300])
    r = await operator.head(f"/api/v1/tenants/{t}")
    print(r.headers, r.content)
    r = await operator.get(f"/api/v1/tenants/{t}", headers={"If-None-Match": '"1"'})
    print(r.status_code, r.headers, r.content)
    for m, path, body in (
        ("PUT", f"/{t}", {"name": "B"}),
        ("POST", f"/{t}/suspend", {"reason": "x"}),
        ("DELETE", f"/{t}?confirm_subdomain=acme", None),
        ("PATCH", f"/{t}", {}),
        ("POST", f"/{t}/commands/nix", {}),
    ):
        r = await operator.request(m, "/api/v1/tenants" + path, json=body)
        print(m, path, r.status_code, r.headers, r.text[:300])
    for path in (
        "/health",
        "/health/live",
        "/metrics",
        "/openapi.json",
        "/asyncapi.json",
        "/problems/tenant-gone",
        "/problems/x",
        "/.well-known/jwks.json",
        "/nope",
    ):
        r = await operator.get(path)
        print(path, r.status_code, r.headers.get("content-type"), r.text[:200])

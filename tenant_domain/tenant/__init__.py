"""A tenant: its name, subdomain, plan and status, from its provisioning to its end."""

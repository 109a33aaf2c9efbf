"""What `tenantctl doctor` looks at, a module for each topic."""

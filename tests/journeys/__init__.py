"""The whole service on real servers, from the outside."""

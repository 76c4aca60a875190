"""Certificates by ACME (RFC 8555), with the client library of certbot: an extra, `pip install "fastlb[acme]"`."""

"""PostgreSQL as a program and as a server: finding, starting, connecting, translating its errors."""

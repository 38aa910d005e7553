-- What belongs to the database as a whole: lost by a copy with CREATE DATABASE … TEMPLATE, and by a plain pg_dump.
DO $$
BEGIN
  EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'Europe/Paris');
  EXECUTE format('ALTER ROLE recyclic_app IN DATABASE %I SET statement_timeout = %L', current_database(), '30s');
  EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO recyclic_app, recyclic_readonly', current_database());
  EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'Ressourcerie de démonstration');
END
$$;

-- What is faster, or only possible, over existing rows: keys, indexes, triggers, views; then who may do what.

ALTER TABLE sale_items ADD PRIMARY KEY (id);
ALTER TABLE ligne_depot ADD PRIMARY KEY (id);
ALTER TABLE login_history ADD PRIMARY KEY (id);
ALTER TABLE audit_logs ADD PRIMARY KEY (id);
ALTER TABLE audit.events ADD PRIMARY KEY (id, occurred_at);

-- As the application's migrations name them.
CREATE UNIQUE INDEX ix_users_username ON users (username);
CREATE UNIQUE INDEX ix_users_email ON users (email);
CREATE INDEX ix_users_telegram_id ON users (telegram_id);
ALTER TABLE groups ADD CONSTRAINT groups_name_key UNIQUE (name);
ALTER TABLE permissions ADD CONSTRAINT permissions_name_key UNIQUE (name);
CREATE UNIQUE INDEX ix_settings_key ON settings (key);
ALTER TABLE admin_settings ADD CONSTRAINT uq_admin_settings_key_site UNIQUE (key, site_id);
CREATE INDEX ix_categories_parent_id ON categories (parent_id);
CREATE INDEX ix_cash_sessions_opened_at ON cash_sessions (opened_at DESC);
CREATE INDEX ix_cash_sessions_register_id ON cash_sessions (register_id, status);
CREATE INDEX ix_sales_cash_session_id ON sales (cash_session_id);
CREATE INDEX ix_sale_items_sale_id ON sale_items (sale_id);
CREATE INDEX ix_ticket_depot_poste_id ON ticket_depot (poste_id);
CREATE INDEX ix_ligne_depot_ticket_id ON ligne_depot (ticket_id);
CREATE INDEX ix_login_history_created_at ON login_history (created_at);
CREATE INDEX ix_audit_logs_timestamp ON audit_logs ("timestamp");
CREATE INDEX ix_email_logs_recipient_email ON email_logs (recipient_email);

-- As the association made them: kinds of indexes that Recyclic does not use.
CREATE INDEX users_name_idx ON users (lower(last_name), first_name) WHERE is_active;
CREATE UNIQUE INDEX cash_sessions_one_open_idx ON cash_sessions (register_id) WHERE status = 'OPEN';
CREATE INDEX sales_created_at_idx ON sales USING brin (created_at);
CREATE INDEX sales_session_idx ON sales (cash_session_id) INCLUDE (total_amount);
CREATE INDEX receipts_file_idx ON association.receipts USING hash (file_name);
CREATE INDEX events_actor_idx ON audit.events (actor_id, occurred_at);
CREATE INDEX preferences_value_idx ON association.preferences USING gin (value jsonb_path_ops);

ALTER TABLE admin_settings ADD FOREIGN KEY (site_id) REFERENCES sites;
ALTER TABLE audit_logs ADD FOREIGN KEY (actor_id) REFERENCES users;
ALTER TABLE cash_registers ADD FOREIGN KEY (site_id) REFERENCES sites;
ALTER TABLE cash_sessions
  ADD FOREIGN KEY (operator_id) REFERENCES users,
  ADD FOREIGN KEY (register_id) REFERENCES cash_registers,
  ADD FOREIGN KEY (site_id) REFERENCES sites;
ALTER TABLE categories ADD FOREIGN KEY (parent_id) REFERENCES categories;
ALTER TABLE deposits
  ADD FOREIGN KEY (site_id) REFERENCES sites,
  ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE email_logs ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE group_permissions
  ADD FOREIGN KEY (group_id) REFERENCES groups,
  ADD FOREIGN KEY (permission_id) REFERENCES permissions;
ALTER TABLE ligne_depot
  ADD FOREIGN KEY (category_id) REFERENCES categories,
  ADD FOREIGN KEY (ticket_id) REFERENCES ticket_depot;
ALTER TABLE poste_reception ADD FOREIGN KEY (opened_by_user_id) REFERENCES users;
ALTER TABLE preset_buttons ADD FOREIGN KEY (category_id) REFERENCES categories;
ALTER TABLE registration_requests
  ADD FOREIGN KEY (reviewed_by) REFERENCES users,
  ADD FOREIGN KEY (site_id) REFERENCES sites;
ALTER TABLE sale_items
  ADD FOREIGN KEY (preset_id) REFERENCES preset_buttons,
  ADD FOREIGN KEY (sale_id) REFERENCES sales;
ALTER TABLE sales
  ADD FOREIGN KEY (cash_session_id) REFERENCES cash_sessions,
  ADD FOREIGN KEY (operator_id) REFERENCES users;
ALTER TABLE ticket_depot
  ADD FOREIGN KEY (benevole_user_id) REFERENCES users,
  ADD FOREIGN KEY (poste_id) REFERENCES poste_reception;
ALTER TABLE user_groups
  ADD FOREIGN KEY (group_id) REFERENCES groups,
  ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE user_status_history
  ADD FOREIGN KEY (changed_by_admin_id) REFERENCES users,
  ADD FOREIGN KEY (user_id) REFERENCES users;

ALTER TABLE categories ADD CHECK (parent_id <> id), ADD CHECK (price >= 0);
ALTER TABLE cash_sessions ADD CHECK ((status = 'CLOSED') = (closed_at IS NOT NULL));
ALTER TABLE association.receipts ADD FOREIGN KEY (sale_id) REFERENCES sales ON DELETE CASCADE;
ALTER TABLE association.shipments
  ADD FOREIGN KEY (category_id) REFERENCES categories ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE association."Prêts d'outils" ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE association.messages ADD FOREIGN KEY (sender_id) REFERENCES users;

CREATE FUNCTION association.set_updated_at() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION association.set_updated_at() IS 'Met à jour la date de modification';
CREATE TRIGGER sites_updated_at BEFORE UPDATE ON sites FOR EACH ROW EXECUTE FUNCTION association.set_updated_at();
CREATE TRIGGER users_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION association.set_updated_at();
CREATE TRIGGER preferences_updated_at
  BEFORE UPDATE ON association.preferences FOR EACH ROW WHEN (OLD.value IS DISTINCT FROM NEW.value)
  EXECUTE FUNCTION association.set_updated_at();

CREATE VIEW association.daily_sales AS
  SELECT session.site_id, (sale.created_at AT TIME ZONE 'Europe/Paris')::date AS day, count(*) AS sales,
         sum(sale.total_amount) AS total, sum(sale.donation) AS dons
  FROM sales AS sale
  JOIN cash_sessions AS session ON session.id = sale.cash_session_id
  GROUP BY session.site_id, day;
COMMENT ON VIEW association.daily_sales IS 'Recettes par site et par jour';

CREATE MATERIALIZED VIEW association.monthly_weights AS
  SELECT category.parent_id AS category_id, date_trunc('month', ticket.created_at, 'Europe/Paris')::date AS month,
         line.destination, sum(line.poids_kg) AS poids_total, count(*) AS lignes
  FROM ligne_depot AS line
  JOIN ticket_depot AS ticket ON ticket.id = line.ticket_id
  JOIN categories AS category ON category.id = line.category_id
  GROUP BY category.parent_id, month, line.destination
  ORDER BY category.parent_id, month, line.destination;
CREATE UNIQUE INDEX monthly_weights_key ON association.monthly_weights (category_id, month, destination);
COMMENT ON MATERIALIZED VIEW association.monthly_weights IS 'Tonnages mensuels déclarés aux éco-organismes';

-- Roles belong to the whole cluster: they may be there already.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'recyclic_readonly') THEN
    CREATE ROLE recyclic_readonly NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'recyclic_app') THEN
    CREATE ROLE recyclic_app LOGIN PASSWORD 'recyclic-demo' CONNECTION LIMIT 40;
    GRANT recyclic_readonly TO recyclic_app;
  END IF;
END
$$;

ALTER SCHEMA audit OWNER TO recyclic_app;
ALTER TABLE audit.events OWNER TO recyclic_app;
GRANT USAGE ON SCHEMA public, association TO recyclic_app, recyclic_readonly;
GRANT USAGE ON SCHEMA audit TO recyclic_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, association TO recyclic_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA association TO recyclic_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public, association TO recyclic_readonly;
REVOKE SELECT ON users FROM recyclic_readonly;
GRANT SELECT (id, site_id, role, is_active) ON users TO recyclic_readonly;
REVOKE EXECUTE ON FUNCTION association.set_updated_at() FROM PUBLIC;
GRANT SELECT ON LARGE OBJECT 710001, 710002, 710003 TO recyclic_readonly;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO recyclic_readonly;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO recyclic_app;

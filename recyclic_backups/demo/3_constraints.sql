-- What is faster, or only possible, over existing rows: keys, indexes, triggers, views; then who may do what.

ALTER TABLE sale_items ADD PRIMARY KEY (id);
ALTER TABLE payments ADD PRIMARY KEY (id);
ALTER TABLE ligne_depot ADD PRIMARY KEY (id);
ALTER TABLE audit.events ADD PRIMARY KEY (id, occurred_at);

CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE INDEX users_name_idx ON users (last_name, first_name) WHERE is_active;
CREATE UNIQUE INDEX categories_code_key ON categories (code);
CREATE INDEX categories_parent_idx ON categories (parent_id);
CREATE UNIQUE INDEX cash_sessions_one_open_idx ON cash_sessions (register_id) WHERE status = 'ouverte';
CREATE INDEX cash_sessions_opened_idx ON cash_sessions (opened_at DESC);
ALTER TABLE sales ADD CONSTRAINT sales_number_key UNIQUE (number);
CREATE INDEX sales_sold_at_idx ON sales USING brin (sold_at);
CREATE INDEX sales_session_idx ON sales (session_id) INCLUDE (total);
CREATE INDEX sale_items_sale_idx ON sale_items (sale_id);
CREATE INDEX payments_sale_idx ON payments USING hash (sale_id);
ALTER TABLE ticket_depot ADD CONSTRAINT ticket_depot_number_key UNIQUE (number);
CREATE INDEX ticket_depot_poste_idx ON ticket_depot (poste_id);
CREATE INDEX ligne_depot_ticket_idx ON ligne_depot (ticket_id);
CREATE INDEX ligne_depot_category_idx ON ligne_depot (category_id, destination);
CREATE INDEX events_actor_idx ON audit.events (actor_id, occurred_at);
CREATE INDEX app_settings_value_idx ON app_settings USING gin (value jsonb_path_ops);

ALTER TABLE users ADD FOREIGN KEY (site_id) REFERENCES sites;
ALTER TABLE categories ADD FOREIGN KEY (parent_id) REFERENCES categories ON DELETE RESTRICT;
ALTER TABLE categories ADD CHECK (parent_id <> id), ADD CHECK (price_per_kg >= 0);
ALTER TABLE cash_registers ADD FOREIGN KEY (site_id) REFERENCES sites;
ALTER TABLE cash_sessions
  ADD FOREIGN KEY (register_id) REFERENCES cash_registers,
  ADD FOREIGN KEY (operator_id) REFERENCES users,
  ADD CONSTRAINT cash_sessions_closed_check CHECK ((status = 'clôturée') = (closed_at IS NOT NULL)),
  ADD CHECK (closed_at > opened_at);
ALTER TABLE sales
  ADD FOREIGN KEY (session_id) REFERENCES cash_sessions,
  ADD FOREIGN KEY (seller_id) REFERENCES users,
  ADD CHECK (total >= 0 AND donation >= 0);
ALTER TABLE sale_items
  ADD FOREIGN KEY (sale_id) REFERENCES sales ON DELETE CASCADE,
  ADD FOREIGN KEY (category_id) REFERENCES categories,
  ADD CHECK (quantity > 0);
ALTER TABLE payments ADD FOREIGN KEY (sale_id) REFERENCES sales ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE receipts ADD FOREIGN KEY (sale_id) REFERENCES sales ON DELETE CASCADE;
ALTER TABLE poste_reception
  ADD FOREIGN KEY (site_id) REFERENCES sites,
  ADD FOREIGN KEY (opened_by) REFERENCES users;
ALTER TABLE ticket_depot
  ADD FOREIGN KEY (poste_id) REFERENCES poste_reception,
  ADD FOREIGN KEY (benevole_id) REFERENCES users;
ALTER TABLE ligne_depot
  ADD FOREIGN KEY (ticket_id) REFERENCES ticket_depot ON DELETE CASCADE,
  ADD FOREIGN KEY (category_id) REFERENCES categories;
ALTER TABLE shipments ADD FOREIGN KEY (category_id) REFERENCES categories;
ALTER TABLE "Prêts d'outils" ADD FOREIGN KEY (user_id) REFERENCES users;
ALTER TABLE messages ADD FOREIGN KEY (sender_id) REFERENCES users;

CREATE FUNCTION set_updated_at() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION set_updated_at() IS 'Met à jour la date de modification';
CREATE TRIGGER sites_updated_at BEFORE UPDATE ON sites FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER users_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE TRIGGER app_settings_updated_at
  BEFORE UPDATE ON app_settings FOR EACH ROW WHEN (OLD.value IS DISTINCT FROM NEW.value)
  EXECUTE FUNCTION set_updated_at();

CREATE VIEW daily_sales AS
  SELECT register.site_id, (sale.sold_at AT TIME ZONE 'Europe/Paris')::date AS day, count(*) AS sales,
         sum(sale.total) AS total, sum(sale.donation) AS dons
  FROM sales AS sale
  JOIN cash_sessions AS session ON session.id = sale.session_id
  JOIN cash_registers AS register ON register.id = session.register_id
  WHERE sale.status = 'payée'
  GROUP BY register.site_id, day;
COMMENT ON VIEW daily_sales IS 'Recettes par site et par jour';

CREATE MATERIALIZED VIEW monthly_weights AS
  SELECT category.parent_id AS category_id, date_trunc('month', ticket.created_at, 'Europe/Paris')::date AS month,
         line.destination, sum(line.poids) AS poids_total, count(*) AS lignes
  FROM ligne_depot AS line
  JOIN ticket_depot AS ticket ON ticket.id = line.ticket_id
  JOIN categories AS category ON category.id = line.category_id
  GROUP BY category.parent_id, month, line.destination
  ORDER BY category.parent_id, month, line.destination;
CREATE UNIQUE INDEX monthly_weights_key ON monthly_weights (category_id, month, destination);
COMMENT ON MATERIALIZED VIEW monthly_weights IS 'Tonnages mensuels déclarés aux éco-organismes';

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
GRANT USAGE ON SCHEMA public TO recyclic_app, recyclic_readonly;
GRANT USAGE ON SCHEMA audit TO recyclic_readonly;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO recyclic_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO recyclic_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO recyclic_readonly;
REVOKE SELECT ON users FROM recyclic_readonly;
GRANT SELECT (id, site_id, role, is_active) ON users TO recyclic_readonly;
REVOKE EXECUTE ON FUNCTION set_updated_at() FROM PUBLIC;
GRANT SELECT ON LARGE OBJECT 710001, 710002, 710003 TO recyclic_readonly;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO recyclic_readonly;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO recyclic_app;

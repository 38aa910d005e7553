-- The database of a re-use centre (« ressourcerie »): what comes in is weighed, what goes out is sold.
-- Schema public has the tables, columns and enums of Recyclic as the application's own migrations make them.
-- Schemas association and audit are beside it: what an association adds on its own, and kinds of objects that
-- Recyclic does not use but that a restore has to bring back all the same.
-- Constraints and indexes that are faster to build over existing rows are in 3_constraints.sql.

CREATE TYPE buttontype AS ENUM ('DONATION', 'RECYCLING');
CREATE TYPE cashsessionstatus AS ENUM ('OPEN', 'CLOSED');
CREATE TYPE cashsessionstep AS ENUM ('ENTRY', 'SALE', 'EXIT');
CREATE TYPE depositstatus AS ENUM ('PENDING_AUDIO', 'AUDIO_PROCESSING', 'PENDING_VALIDATION', 'CLASSIFICATION_FAILED',
  'CLASSIFIED', 'VALIDATED', 'COMPLETED');
CREATE TYPE destinationenum AS ENUM ('MAGASIN', 'RECYCLAGE', 'DECHETERIE');
CREATE TYPE eeecategory AS ENUM ('SMALL_APPLIANCE', 'LARGE_APPLIANCE', 'IT_EQUIPMENT', 'LIGHTING', 'TOOLS', 'TOYS',
  'MEDICAL_DEVICES', 'MONITORING_CONTROL', 'AUTOMATIC_DISPENSERS', 'OTHER');
CREATE TYPE emailstatus AS ENUM ('pending', 'sent', 'delivered', 'opened', 'clicked', 'bounced', 'failed');
CREATE TYPE emailtype AS ENUM ('password_reset', 'welcome', 'notification', 'admin_notification', 'other');
CREATE TYPE registrationstatus AS ENUM ('PENDING', 'APPROVED', 'REJECTED');
CREATE TYPE userrole AS ENUM ('super-admin', 'admin', 'user');
CREATE TYPE userstatus AS ENUM ('pending', 'approved', 'rejected', 'active');

CREATE TABLE alembic_version (
  version_num varchar(32) PRIMARY KEY
);

CREATE TABLE sites (
  id uuid PRIMARY KEY,
  name varchar NOT NULL,
  address varchar,
  city varchar,
  postal_code varchar,
  country varchar,
  configuration json,
  is_active boolean NOT NULL,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);

CREATE TABLE users (
  id uuid PRIMARY KEY,
  username varchar NOT NULL,
  email varchar,
  hashed_password varchar NOT NULL,
  hashed_pin varchar,
  telegram_id varchar,
  first_name varchar,
  last_name varchar,
  phone_number varchar,
  address varchar,
  notes text,
  skills text,
  availability text,
  role userrole NOT NULL,
  status userstatus NOT NULL,
  is_active boolean NOT NULL,
  site_id uuid,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);
COMMENT ON TABLE users IS 'Membres de l’équipe — données personnelles (RGPD)';

CREATE TABLE user_status_history (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL,
  changed_by_admin_id uuid NOT NULL,
  old_status boolean,
  new_status boolean NOT NULL,
  change_date timestamptz NOT NULL,
  reason varchar
);

CREATE TABLE groups (
  id uuid PRIMARY KEY,
  name varchar NOT NULL,
  description text,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);

CREATE TABLE permissions (
  id uuid PRIMARY KEY,
  name varchar NOT NULL,
  description text,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);

CREATE TABLE group_permissions (
  group_id uuid NOT NULL,
  permission_id uuid NOT NULL,
  created_at timestamptz DEFAULT now(),
  PRIMARY KEY (group_id, permission_id)
);

CREATE TABLE user_groups (
  user_id uuid NOT NULL,
  group_id uuid NOT NULL,
  created_at timestamptz DEFAULT now(),
  PRIMARY KEY (user_id, group_id)
);

CREATE TABLE registration_requests (
  id uuid PRIMARY KEY,
  telegram_id varchar NOT NULL,
  username varchar,
  first_name varchar,
  last_name varchar,
  email varchar,
  phone varchar,
  site_id uuid,
  notes text,
  status registrationstatus NOT NULL,
  reviewed_by uuid,
  reviewed_at timestamptz,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);

CREATE TABLE login_history (
  id uuid,
  user_id uuid,
  username varchar,
  success boolean NOT NULL,
  client_ip varchar,
  error_type varchar,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit_logs (
  id uuid,
  "timestamp" timestamptz NOT NULL DEFAULT now(),
  actor_id uuid,
  actor_username varchar,
  action_type varchar NOT NULL,
  target_id uuid,
  target_type varchar,
  details_json jsonb,
  description text,
  ip_address varchar,
  user_agent text
);

CREATE TABLE admin_settings (
  id uuid PRIMARY KEY,
  key varchar(100) NOT NULL,
  site_id uuid,
  value_encrypted text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE settings (
  id uuid PRIMARY KEY,
  key varchar NOT NULL,
  value varchar NOT NULL,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);

CREATE TABLE categories (
  id uuid PRIMARY KEY,
  name varchar NOT NULL,
  is_active boolean NOT NULL,
  parent_id uuid,
  price numeric(10, 2),
  max_price numeric(10, 2),
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz,
  display_order integer NOT NULL DEFAULT 0,
  is_visible boolean NOT NULL DEFAULT true,
  shortcut_key varchar
);
COMMENT ON COLUMN categories.parent_id IS 'Catégorie mère ; vide au premier niveau';

CREATE TABLE preset_buttons (
  id uuid PRIMARY KEY,
  name varchar NOT NULL,
  category_id uuid NOT NULL,
  preset_price numeric(10, 2) NOT NULL,
  button_type buttontype NOT NULL,
  sort_order integer NOT NULL,
  is_active boolean NOT NULL,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);

CREATE TABLE cash_registers (
  id uuid PRIMARY KEY,
  name varchar(100) NOT NULL,
  location varchar(255),
  site_id uuid,
  is_active boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE cash_sessions (
  id uuid PRIMARY KEY,
  operator_id uuid NOT NULL,
  site_id uuid NOT NULL,
  register_id uuid,
  initial_amount double precision NOT NULL,
  current_amount double precision NOT NULL,
  status cashsessionstatus NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz,
  total_sales double precision,
  total_items integer,
  closing_amount double precision,
  actual_amount double precision,
  variance double precision,
  variance_comment varchar,
  current_step cashsessionstep,
  last_activity timestamptz,
  step_start_time timestamptz
);

CREATE TABLE sales (
  id uuid PRIMARY KEY,
  cash_session_id uuid NOT NULL,
  operator_id uuid,
  total_amount double precision NOT NULL,
  donation double precision,
  payment_method varchar(5),
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);
COMMENT ON COLUMN sales.donation IS 'Don libre du client, en euros, en plus du total';

CREATE TABLE sale_items (
  id uuid,
  sale_id uuid NOT NULL,
  category varchar(50) NOT NULL,
  quantity integer NOT NULL,
  weight double precision,
  unit_price double precision NOT NULL,
  total_price double precision NOT NULL,
  notes text,
  preset_id uuid
);

CREATE TABLE poste_reception (
  id uuid PRIMARY KEY,
  opened_by_user_id uuid NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz,
  status varchar(16) NOT NULL
);
COMMENT ON TABLE poste_reception IS 'Poste de réception : là où les dépôts sont pesés';

CREATE TABLE ticket_depot (
  id uuid PRIMARY KEY,
  poste_id uuid NOT NULL,
  benevole_user_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  closed_at timestamptz,
  status varchar(16) NOT NULL
);
COMMENT ON TABLE ticket_depot IS 'Ticket de dépôt : ce qu’une personne a apporté en une fois';

CREATE TABLE ligne_depot (
  id uuid,
  ticket_id uuid NOT NULL,
  category_id uuid NOT NULL,
  poids_kg numeric(8, 3) NOT NULL,
  destination destinationenum NOT NULL,
  notes varchar
);

CREATE TABLE deposits (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL,
  site_id uuid,
  telegram_user_id varchar,
  audio_file_path varchar,
  status depositstatus NOT NULL,
  category eeecategory,
  weight double precision,
  description varchar,
  transcription text,
  eee_category eeecategory,
  confidence_score double precision,
  alternative_categories json,
  ai_classification varchar,
  ai_confidence double precision,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz
);

CREATE TABLE email_logs (
  id uuid PRIMARY KEY,
  recipient_email varchar NOT NULL,
  recipient_name varchar,
  subject varchar NOT NULL,
  body_text text,
  body_html text,
  status emailstatus NOT NULL,
  email_type emailtype NOT NULL,
  external_id varchar,
  error_message text,
  sent_at timestamptz,
  delivered_at timestamptz,
  opened_at timestamptz,
  clicked_at timestamptz,
  bounced_at timestamptz,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz,
  user_id uuid,
  additional_data text
);

CREATE TABLE sync_logs (
  id uuid PRIMARY KEY,
  sync_type varchar NOT NULL,
  status varchar NOT NULL,
  message text,
  error_details text,
  records_count integer,
  file_path varchar,
  created_at timestamptz DEFAULT now()
);

-- What the association keeps beside Recyclic.

CREATE SCHEMA association;
COMMENT ON SCHEMA association IS 'Ce que l’association tient à côté de Recyclic';
CREATE DOMAIN association.code_postal AS text CHECK (VALUE ~ '^[0-9]{5}$');
COMMENT ON DOMAIN association.code_postal IS 'Code postal français : cinq chiffres';
CREATE DOMAIN association.poids_kg AS numeric(10, 3) CHECK (VALUE > 0);
CREATE SEQUENCE association.slip_number_seq START 5000 INCREMENT 1 CACHE 1;

CREATE TABLE association.receipts (
  sale_id uuid PRIMARY KEY,
  file_name text NOT NULL,
  scan oid NOT NULL,
  sha256 bytea NOT NULL
);
COMMENT ON COLUMN association.receipts.scan IS 'Numéro du grand objet qui contient le reçu numérisé';

CREATE TABLE association.shipments (
  id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  partner text NOT NULL,
  category_id uuid NOT NULL,
  weight association.poids_kg NOT NULL,
  price_per_kg numeric(12, 2) NOT NULL,
  amount numeric(12, 2) GENERATED ALWAYS AS (weight * price_per_kg) STORED,
  postal_code association.code_postal,
  shipped_on date NOT NULL,
  slip_number bigint NOT NULL DEFAULT nextval('association.slip_number_seq') UNIQUE,
  contents text[] NOT NULL DEFAULT '{}'
);
ALTER SEQUENCE association.slip_number_seq OWNED BY association.shipments.slip_number;
COMMENT ON TABLE association.shipments IS 'Enlèvements par les éco-organismes';

CREATE TABLE association.closures (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  during daterange NOT NULL,
  reason text NOT NULL,
  EXCLUDE USING gist (during WITH &&)
);

CREATE TABLE association.preferences (
  key text PRIMARY KEY,
  value jsonb NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- A name that has to be quoted, and a key of two columns.
CREATE TABLE association."Prêts d'outils" (
  user_id uuid NOT NULL,
  "prêté le" date NOT NULL,
  outil text NOT NULL,
  "rendu le" date,
  PRIMARY KEY (user_id, "prêté le"),
  CHECK ("rendu le" >= "prêté le")
);

-- Empty on purpose: an empty table has to come back too.
CREATE TABLE association.messages (
  id uuid PRIMARY KEY,
  sender_id uuid NOT NULL,
  body text NOT NULL,
  sent_at timestamptz NOT NULL DEFAULT now()
);

CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'Journal des opérations : ajout seul, jamais de modification';
CREATE TABLE audit.events (
  id bigserial,
  occurred_at timestamptz NOT NULL,
  actor_id uuid,
  action text NOT NULL,
  entity text NOT NULL,
  entity_id uuid,
  ip inet,
  payload jsonb NOT NULL
) PARTITION BY RANGE (occurred_at);
COMMENT ON TABLE audit.events IS 'Un événement par opération ; une partition par année';

DO $$
DECLARE
  last_year integer := extract(year FROM current_setting('demo.today')::date);
BEGIN
  FOR the_year IN last_year - 2 .. last_year LOOP
    EXECUTE format(
      'CREATE TABLE audit.events_%s PARTITION OF audit.events FOR VALUES FROM (%L) TO (%L)',
      the_year, make_timestamptz(the_year, 1, 1, 0, 0, 0, 'UTC'), make_timestamptz(the_year + 1, 1, 1, 0, 0, 0, 'UTC'));
  END LOOP;
END
$$;
CREATE TABLE audit.events_autres PARTITION OF audit.events DEFAULT;

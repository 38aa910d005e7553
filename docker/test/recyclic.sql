-- A small database with what a fingerprint looks at: keys, a sequence, a view, text with accents.
CREATE TABLE deposits (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  category text NOT NULL,
  weight_kg numeric(8, 3) NOT NULL,
  received_at timestamptz NOT NULL
);
INSERT INTO deposits (category, weight_kg, received_at)
SELECT (ARRAY['vêtements', 'vaisselle', 'électroménager', 'livres'])[1 + n % 4], (n % 977) / 7.0,
       timestamptz '2026-01-01 09:00+01' + n * interval '11 minutes'
FROM generate_series(1, 20000) AS n;
CREATE TABLE sales (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  deposit_id bigint NOT NULL REFERENCES deposits,
  price_cents integer NOT NULL CHECK (price_cents >= 0)
);
INSERT INTO sales (deposit_id, price_cents) SELECT n, (n * 37) % 5000 FROM generate_series(1, 20000, 3) AS n;
CREATE VIEW weight_by_category AS SELECT category, sum(weight_kg) AS weight_kg FROM deposits GROUP BY category;

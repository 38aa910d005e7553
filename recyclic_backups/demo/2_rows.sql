-- The rows. Everything follows from row numbers and demo.today, so that two runs give the same content:
-- one MD5 per row is its dice (OFFSET 0 keeps the planner from throwing them anew for every column). No person,
-- address or telephone number is real: the numbers are of the range that ARCEP keeps for works of fiction.

CREATE FUNCTION pg_temp.amount(counted text) RETURNS integer
  LANGUAGE sql STABLE AS $$ SELECT current_setting('demo.' || counted)::integer $$;

CREATE FUNCTION pg_temp.dice(kind text, n bigint) RETURNS bytea
  LANGUAGE sql IMMUTABLE AS $$ SELECT decode(md5(kind || ':' || n::text), 'hex') $$;

-- Sixteen bits of the dice, at byte i, as a number from 0 to sides - 1.
CREATE FUNCTION pg_temp.roll(dice bytea, i integer, sides integer) RETURNS integer
  LANGUAGE sql IMMUTABLE AS $$ SELECT (get_byte(dice, i) * 256 + get_byte(dice, i + 1)) % sides $$;

CREATE FUNCTION pg_temp.ident(kind text, n bigint) RETURNS uuid
  LANGUAGE sql IMMUTABLE AS $$ SELECT md5(kind || ':' || n::text)::uuid $$;

CREATE FUNCTION pg_temp.pick(choices text[], dice bytea, i integer) RETURNS text
  LANGUAGE sql IMMUTABLE AS $$ SELECT choices[1 + pg_temp.roll(dice, i, cardinality(choices))] $$;

-- Opening of the n-th of so many days of work, spread over two years; the last one is the day before demo.today.
CREATE FUNCTION pg_temp.opening(n bigint, many bigint) RETURNS timestamptz
  LANGUAGE sql STABLE AS $$
    SELECT (current_setting('demo.today')::date - 730 + ((n - 1) * 729 / greatest(many - 1, 1))::integer + time '09:00')
           AT TIME ZONE 'Europe/Paris'
  $$;

INSERT INTO alembic_version VALUES ('8f2d1c0a7b3e');

INSERT INTO sites (id, name, address, postal_code, city, opened_on, services, created_at, updated_at)
SELECT pg_temp.ident('site', n), name, address, postal_code, city,
       current_setting('demo.today')::date - 3000 + n::integer * 400, services,
       pg_temp.opening(1, 1), pg_temp.opening(1, 1)
FROM unnest(
  ARRAY['La Clique qui Recycle', 'L’Atelier du Réemploi', 'Le Grenier Solidaire'],
  ARRAY['2 rue de la Forêt', '14 bis, allée des Chênes', '7 place de l’Église'],
  ARRAY['09100', '35000', '38240'],
  ARRAY['Pamiers', 'Rennes', 'Meylan']
) WITH ORDINALITY AS site (name, address, postal_code, city, n),
LATERAL (SELECT (ARRAY['vente', 'réception', 'atelier vélo', 'café'])[1:n::integer + 1]) AS offered (services);

INSERT INTO users (id, site_id, role, first_name, last_name, email, phone, is_active, created_at, updated_at)
SELECT pg_temp.ident('user', n), pg_temp.ident('site', 1 + n % 3),
       CASE WHEN n <= 3 THEN 'administrateur' WHEN n % 8 = 0 THEN 'salarié' ELSE 'bénévole' END::user_role,
       first_name, last_name,
       translate(lower(first_name || '.' || replace(replace(last_name, ' ', ''), '’', '')),
                 'éèêëïîôçœ', 'eeeeiioco') || n || '@example.org',
       CASE WHEN pg_temp.roll(d, 4, 10) > 0 THEN '06 39 98 ' || lpad((n / 100 % 100)::text, 2, '0') || ' '
            || lpad((n % 100)::text, 2, '0') END,
       pg_temp.roll(d, 6, 12) > 0, pg_temp.opening(n, pg_temp.amount('users')),
       pg_temp.opening(n, pg_temp.amount('users'))
FROM generate_series(1, pg_temp.amount('users')) AS n,
LATERAL (SELECT pg_temp.dice('user', n) OFFSET 0) AS dice (d),
LATERAL (SELECT
  pg_temp.pick(ARRAY['Zoé', 'Léa', 'Maëlle', 'Chloé', 'Inès', 'Noémie', 'Océane', 'Hélène', 'Anaïs', 'Jeanne',
                     'Rémi', 'Théo', 'Loïc', 'Jérôme', 'Noël', 'François', 'Gaël', 'Benoît', 'Karim', 'Hugo'], d, 0),
  pg_temp.pick(ARRAY['Lefèvre', 'Bérenger', 'Le Goff', 'Garçon', 'Faÿsse', 'Dupré', 'Müller', 'N’Diaye', 'Côté',
                     'Desœuvres', 'Moreau', 'Péronnet', 'Benaïssa', 'Guérin', 'Hénaff', 'Châtelain'], d, 2)
) AS named (first_name, last_name);

INSERT INTO categories (parent_id, name, code, price_per_kg, position)
SELECT NULL, name, upper(code), price, n
FROM unnest(
  ARRAY['Mobilier', 'Électroménager', 'Textile', 'Vaisselle', 'Livres et disques', 'Jouets', 'Bricolage', 'Vélos'],
  ARRAY['mob', 'ele', 'tex', 'vai', 'liv', 'jou', 'bri', 'vel'],
  ARRAY[1.50, 2.00, 4.00, 1.00, 2.50, 3.00, 2.20, 5.00]
) WITH ORDINALITY AS category (name, code, price, n)
ORDER BY n;

INSERT INTO categories (parent_id, name, code, price_per_kg, position)
SELECT parent.id, kind || ' — ' || lower(parent.name), parent.code || '-' || n, parent.price_per_kg + n * 0.25, n
FROM categories AS parent,
unnest(ARRAY['Petit', 'Grand', 'À réparer', 'Pièces détachées']) WITH ORDINALITY AS child (kind, n)
WHERE parent.parent_id IS NULL
ORDER BY parent.id, n;

INSERT INTO cash_registers (site_id, name)
SELECT pg_temp.ident('site', n), 'Caisse n° ' || n FROM generate_series(1, 3) AS n ORDER BY n;

INSERT INTO cash_sessions (id, register_id, operator_id, status, opened_at, closed_at, opening_amount,
                           closing_amount, variance_comment)
SELECT pg_temp.ident('session', n), 1 + n % 3, pg_temp.ident('user', 1 + pg_temp.roll(d, 0, pg_temp.amount('users'))),
       CASE WHEN last THEN 'ouverte' ELSE 'clôturée' END::session_status,
       opened_at, CASE WHEN NOT last THEN opened_at + interval '9 hours' END, 50,
       CASE WHEN NOT last THEN 50 + pg_temp.roll(d, 2, 60000) / 100.0 END,
       CASE WHEN pg_temp.roll(d, 4, 15) = 0 THEN 'Écart constaté à la clôture : erreur de rendu de monnaie' END
FROM generate_series(1, pg_temp.amount('sessions')) AS n,
LATERAL (SELECT pg_temp.dice('open', n), pg_temp.opening(n, pg_temp.amount('sessions')),
                n = pg_temp.amount('sessions') OFFSET 0) AS rolled (d, opened_at, last)
ORDER BY n;

INSERT INTO sale_items (sale_id, category_id, description, weight, quantity, unit_price)
SELECT pg_temp.ident('sale', sale), 9 + pg_temp.roll(d, 0, 32),
       pg_temp.pick(ARRAY['Chaise paillée', 'Bibliothèque en chêne', 'Grille-pain', 'Théière émaillée', 'Manteau d’hiver',
                          'Lot de 33 tours', 'Puzzle incomplet', 'Perceuse à percussion', 'Vélo d’enfant',
                          'Cafetière italienne', 'Rideaux brodés', 'Lampe de chevet'], d, 2)
         || pg_temp.pick(ARRAY['', ', très bon état', ', à réviser', ', défaut léger'], d, 4),
       (50 + pg_temp.roll(d, 6, 24000)) / 1000.0, 1 + pg_temp.roll(d, 8, 3), (50 + pg_temp.roll(d, 10, 3950)) / 100.0
FROM generate_series(1, pg_temp.amount('sales')) AS sale,
LATERAL generate_series(1, 1 + sale % 5) AS item,
LATERAL (SELECT pg_temp.dice('item', sale * 8 + item) OFFSET 0) AS dice (d)
ORDER BY sale, item;

INSERT INTO sales (id, session_id, seller_id, status, sold_at, total, donation, customer_postal_code, note)
SELECT pg_temp.ident('sale', n), session.id, session.operator_id,
       CASE WHEN pg_temp.roll(d, 0, 80) = 0 THEN 'annulée' WHEN pg_temp.roll(d, 0, 80) = 1 THEN 'remboursée'
            ELSE 'payée' END::sale_status,
       session.opened_at + make_interval(secs => pg_temp.roll(d, 2, 30000)), items.total,
       CASE WHEN pg_temp.roll(d, 4, 5) = 0 THEN (1 + pg_temp.roll(d, 6, 10)) * 0.5 ELSE 0 END,
       CASE WHEN pg_temp.roll(d, 8, 3) > 0 THEN lpad((1000 + pg_temp.roll(d, 10, 94000))::text, 5, '0') END,
       CASE WHEN pg_temp.roll(d, 12, 10) = 0
            THEN pg_temp.pick(ARRAY['Retrait prévu samedi', 'Client fidèle ♥', 'Réduction adhérent', 'À livrer'], d, 14) END
FROM generate_series(1, pg_temp.amount('sales')) AS n
JOIN (SELECT sale_id, sum(line_total) AS total FROM sale_items GROUP BY sale_id) AS items
  ON items.sale_id = pg_temp.ident('sale', n)
JOIN cash_sessions AS session
  ON session.id = pg_temp.ident('session', 1 + (n - 1)::bigint * pg_temp.amount('sessions') / pg_temp.amount('sales')),
LATERAL (SELECT pg_temp.dice('ticket', n) OFFSET 0) AS dice (d)
ORDER BY n;

INSERT INTO payments (sale_id, method, amount, paid_at)
SELECT id, (ARRAY['espèces', 'carte', 'espèces', 'chèque', 'virement']::payment_method[])[1 + number % 5],
       total + donation, sold_at + interval '40 seconds'
FROM sales
WHERE status = 'payée'
ORDER BY number;

INSERT INTO poste_reception (id, site_id, opened_by, opened_at, closed_at, status)
SELECT pg_temp.ident('poste', n), pg_temp.ident('site', 1 + n % 3),
       pg_temp.ident('user', 1 + n * 7 % pg_temp.amount('users')), opened_at,
       CASE WHEN NOT last THEN opened_at + interval '8 hours' END,
       CASE WHEN last THEN 'ouverte' ELSE 'clôturée' END::session_status
FROM generate_series(1, pg_temp.amount('postes')) AS n,
LATERAL (SELECT pg_temp.opening(n, pg_temp.amount('postes')), n = pg_temp.amount('postes')) AS day (opened_at, last)
ORDER BY n;

INSERT INTO ticket_depot (id, poste_id, benevole_id, created_at, comment)
SELECT pg_temp.ident('depot', n), poste.id, pg_temp.ident('user', 1 + pg_temp.roll(d, 0, pg_temp.amount('users'))),
       poste.opened_at + make_interval(secs => pg_temp.roll(d, 2, 27000)),
       CASE WHEN pg_temp.roll(d, 4, 6) = 0
            THEN pg_temp.pick(ARRAY['Débarras après succession', 'Déménagement', 'Dépôt à l’improviste',
                                    'Don d’une école', 'Apporté à vélo, bravo !'], d, 6) END
FROM generate_series(1, pg_temp.amount('tickets')) AS n
JOIN poste_reception AS poste
  ON poste.id = pg_temp.ident('poste', 1 + (n - 1)::bigint * pg_temp.amount('postes') / pg_temp.amount('tickets')),
LATERAL (SELECT pg_temp.dice('arrival', n) OFFSET 0) AS dice (d)
ORDER BY n;

INSERT INTO ligne_depot (ticket_id, category_id, poids, destination, notes)
SELECT pg_temp.ident('depot', ticket), 9 + pg_temp.roll(d, 0, 32), (20 + pg_temp.roll(d, 2, 42000)) / 1000.0,
       (ARRAY['magasin', 'magasin', 'recyclage', 'réparation', 'déchetterie']::destination[])[1 + pg_temp.roll(d, 4, 5)],
       CASE WHEN pg_temp.roll(d, 6, 8) = 0
            THEN pg_temp.pick(ARRAY['Pesée deux fois', 'Fragile', 'Câble coupé', 'Reçu sous la pluie'], d, 8) END
FROM generate_series(1, pg_temp.amount('tickets')) AS ticket,
LATERAL generate_series(1, 1 + ticket % 7) AS line,
LATERAL (SELECT pg_temp.dice('ligne', ticket * 8 + line) OFFSET 0) AS dice (d)
ORDER BY ticket, line;

INSERT INTO shipments (partner, category_id, weight, shipped_on, slip_number)
SELECT (ARRAY['Écologic', 'Refashion', 'Écomaison', 'Valdelia'])[1 + n % 4], 1 + n % 8,
       50 + pg_temp.roll(pg_temp.dice('shipment', n), 0, 900) + 0.125,
       pg_temp.opening(n, pg_temp.amount('shipments'))::date, 'BSD-' || lpad(n::text, 6, '0')
FROM generate_series(1, pg_temp.amount('shipments')) AS n
ORDER BY n;

INSERT INTO closures (during, reason)
SELECT daterange(today - 700 + n * 90, today - 700 + n * 90 + 5),
       (ARRAY['Congés d’été', 'Inventaire', 'Pont de l’Ascension', 'Fêtes de fin d’année'])[1 + n % 4]
FROM generate_series(0, 6) AS n, LATERAL (SELECT current_setting('demo.today')::date) AS day (today)
ORDER BY n;

INSERT INTO app_settings (key, value, updated_at)
SELECT key, value::jsonb, pg_temp.opening(1, 1)
FROM unnest(
  ARRAY['ticket.entête', 'tva', 'seuils', 'exports', 'vide'],
  ARRAY['{"lignes": ["Merci de votre visite !", "Association loi 1901 — réemploi"]}',
        '{"taux": 0.0, "mention": "TVA non applicable, art. 293 B du CGI"}',
        '{"écart_de_caisse": 5.00, "poids_max_kg": 300}',
        '[{"nom": "éco-organismes", "fréquence": "trimestrielle"}]', 'null']
) AS setting (key, value);

INSERT INTO "Prêts d'outils" (user_id, "prêté le", outil, "rendu le")
SELECT pg_temp.ident('user', 1 + n % pg_temp.amount('users')), lent_on,
       (ARRAY['Ponceuse', 'Scie à métaux', 'Décapeur thermique', 'Clé à molette'])[1 + n % 4],
       CASE WHEN n % 6 > 0 THEN lent_on + 1 + n % 9 END
FROM generate_series(1, pg_temp.amount('loans')) AS n,
LATERAL (SELECT (pg_temp.opening(n, pg_temp.amount('loans')) AT TIME ZONE 'UTC')::date) AS day (lent_on)
ORDER BY n;

INSERT INTO audit.events (occurred_at, actor_id, action, entity, entity_id, ip, payload)
SELECT pg_temp.opening(n, pg_temp.amount('events')) + make_interval(secs => pg_temp.roll(d, 0, 32000)),
       pg_temp.ident('user', 1 + pg_temp.roll(d, 2, pg_temp.amount('users'))), action,
       'sales', pg_temp.ident('sale', 1 + (n - 1)::bigint * pg_temp.amount('sales') / pg_temp.amount('events')),
       ('192.0.2.' || pg_temp.roll(d, 6, 254))::inet,
       jsonb_build_object(
         'action', action, 'requête', encode(d, 'hex'), 'durée_ms', pg_temp.roll(d, 8, 900),
         'avant', jsonb_build_object('total', pg_temp.roll(d, 10, 9000) / 100.0, 'statut', 'ouverte'),
         'après', jsonb_build_object('total', pg_temp.roll(d, 12, 9000) / 100.0, 'statut', 'payée'))
FROM generate_series(1, pg_temp.amount('events')) AS n,
LATERAL (SELECT pg_temp.dice('event', n) OFFSET 0) AS dice (d),
LATERAL (SELECT pg_temp.pick(ARRAY['création', 'modification', 'clôture', 'réimpression', 'connexion'], d, 4)) AS done (action)
ORDER BY n;

-- Three scanned receipts as large objects, under numbers of their own so that every run has the same.
INSERT INTO receipts (sale_id, file_name, scan, sha256)
SELECT pg_temp.ident('sale', n), 'reçu n° ' || n || '.svg', lo_from_bytea((710000 + n)::oid, image), sha256(image)
FROM generate_series(1, 3) AS n,
LATERAL (
  SELECT convert_to('<svg xmlns="http://www.w3.org/2000/svg" width="300" height="4000">'
           || string_agg(format('<text x="8" y="%s">%s — reçu %s</text>', line * 20, md5(n || ':' || line), n), E'\n'
                         ORDER BY line)
           || '</svg>', 'UTF8')
  FROM generate_series(1, 60 * n) AS line
) AS scanned (image)
ORDER BY n;

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

INSERT INTO sites (id, name, address, city, postal_code, country, configuration, is_active, created_at, updated_at)
SELECT pg_temp.ident('site', n), name, address, city, postal_code, 'France',
       json_build_object('services', offered.services, 'horaires', json_build_object('samedi', '9h–18h')),
       true, pg_temp.opening(1, 1), pg_temp.opening(1, 1)
FROM unnest(
  ARRAY['La Clique qui Recycle', 'L’Atelier du Réemploi', 'Le Grenier Solidaire'],
  ARRAY['2 rue de la Forêt', '14 bis, allée des Chênes', '7 place de l’Église'],
  ARRAY['09100', '35000', '38240'],
  ARRAY['Pamiers', 'Rennes', 'Meylan']
) WITH ORDINALITY AS site (name, address, postal_code, city, n),
LATERAL (SELECT (ARRAY['vente', 'réception', 'atelier vélo', 'café'])[1:n::integer + 1]) AS offered (services);

INSERT INTO users (id, username, email, hashed_password, hashed_pin, telegram_id, first_name, last_name, phone_number,
                   address, notes, skills, availability, role, status, is_active, site_id, created_at, updated_at)
SELECT pg_temp.ident('user', n), lower(translate(first_name, 'éèêëïîôçœÉ', 'eeeeiiocoE')) || n,
       translate(lower(first_name || '.' || replace(replace(last_name, ' ', ''), '’', '')),
                 'éèêëïîôçœ', 'eeeeiioco') || n || '@example.org',
       '$2b$12$' || translate(encode(d || decode(md5('mot de passe' || n), 'hex'), 'base64'), '+=', '..'),
       CASE WHEN pg_temp.roll(d, 8, 3) = 0 THEN '$2b$12$' || encode(decode(md5('pin' || n), 'hex'), 'hex') END,
       CASE WHEN pg_temp.roll(d, 10, 4) = 0 THEN (100000000 + pg_temp.roll(d, 10, 60000) * 7)::text END,
       first_name, last_name,
       CASE WHEN pg_temp.roll(d, 4, 10) > 0 THEN '06 39 98 ' || lpad((n / 100 % 100)::text, 2, '0') || ' '
            || lpad((n % 100)::text, 2, '0') END,
       CASE WHEN n % 5 = 0 THEN (n % 90 + 1) || ' chemin des Écoliers, Pamiers' END,
       CASE WHEN pg_temp.roll(d, 12, 9) = 0 THEN 'Préfère l’atelier ; ne porte pas de charges lourdes' END,
       CASE WHEN n % 3 = 0 THEN pg_temp.pick(ARRAY['couture', 'électricité', 'menuiserie', 'vélo', 'caisse'], d, 14) END,
       CASE WHEN n % 4 = 0 THEN 'mardi et samedi, sauf vacances scolaires' END,
       CASE WHEN n = 1 THEN 'super-admin' WHEN n <= 3 THEN 'admin' ELSE 'user' END::userrole,
       CASE WHEN n % 17 = 0 THEN 'pending' WHEN n % 13 = 0 THEN 'approved' ELSE 'active' END::userstatus,
       pg_temp.roll(d, 6, 12) > 0, pg_temp.ident('site', 1 + n % 3),
       pg_temp.opening(n, pg_temp.amount('users')), pg_temp.opening(n, pg_temp.amount('users'))
FROM generate_series(1, pg_temp.amount('users')) AS n,
LATERAL (SELECT pg_temp.dice('user', n) OFFSET 0) AS dice (d),
LATERAL (SELECT
  pg_temp.pick(ARRAY['Zoé', 'Léa', 'Maëlle', 'Chloé', 'Inès', 'Noémie', 'Océane', 'Hélène', 'Anaïs', 'Jeanne',
                     'Rémi', 'Théo', 'Loïc', 'Jérôme', 'Noël', 'François', 'Gaël', 'Benoît', 'Karim', 'Hugo'], d, 0),
  pg_temp.pick(ARRAY['Lefèvre', 'Bérenger', 'Le Goff', 'Garçon', 'Faÿsse', 'Dupré', 'Müller', 'N’Diaye', 'Côté',
                     'Desœuvres', 'Moreau', 'Péronnet', 'Benaïssa', 'Guérin', 'Hénaff', 'Châtelain'], d, 2)
) AS named (first_name, last_name);

INSERT INTO user_status_history (id, user_id, changed_by_admin_id, old_status, new_status, change_date, reason)
SELECT pg_temp.ident('status', n), pg_temp.ident('user', n), pg_temp.ident('user', 1 + n % 3),
       CASE WHEN n % 2 = 0 THEN true END, n % 2 = 1, pg_temp.opening(n, pg_temp.amount('users')),
       pg_temp.pick(ARRAY['Arrivée dans l’équipe', 'Départ en formation', 'Retour après congé', 'Adhésion échue'],
                    pg_temp.dice('status', n), 0)
FROM generate_series(1, pg_temp.amount('users')) AS n
ORDER BY n;

INSERT INTO groups (id, name, description, created_at)
SELECT pg_temp.ident('group', n), name, description, pg_temp.opening(1, 1)
FROM unnest(ARRAY['Caisse', 'Réception', 'Administration'],
            ARRAY['Encaisse et clôture', 'Pèse et enregistre les dépôts', 'Règle tout le reste'])
  WITH ORDINALITY AS team (name, description, n);

INSERT INTO permissions (id, name, description, created_at)
SELECT pg_temp.ident('permission', n), name, 'Droit « ' || name || ' »', pg_temp.opening(1, 1)
FROM unnest(ARRAY['caisse.access', 'caisse.close', 'reception.access', 'reports.view', 'users.manage'])
  WITH ORDINALITY AS allowed (name, n);

INSERT INTO group_permissions (group_id, permission_id, created_at)
SELECT pg_temp.ident('group', team), pg_temp.ident('permission', allowed), pg_temp.opening(1, 1)
FROM unnest(ARRAY[1, 1, 2, 3, 3, 3, 3, 3], ARRAY[1, 2, 3, 1, 2, 3, 4, 5]) AS given (team, allowed);

INSERT INTO user_groups (user_id, group_id, created_at)
SELECT pg_temp.ident('user', n), pg_temp.ident('group', CASE WHEN n <= 3 THEN 3 ELSE 1 + n % 2 END),
       pg_temp.opening(n, pg_temp.amount('users'))
FROM generate_series(1, pg_temp.amount('users')) AS n
ORDER BY n;

INSERT INTO registration_requests (id, telegram_id, username, first_name, last_name, email, phone, site_id, notes,
                                   status, reviewed_by, reviewed_at, created_at)
SELECT pg_temp.ident('request', n), (700000000 + n)::text, 'bénévole' || n,
       pg_temp.pick(ARRAY['Aline', 'Éric', 'Sylvie', 'Mehdi'], d, 0),
       pg_temp.pick(ARRAY['Fournier', 'Béart', 'Lemoîne', 'Roussel'], d, 2), 'demande' || n || '@example.org',
       '06 39 98 ' || lpad((n / 100 % 100)::text, 2, '0') || ' ' || lpad((n % 100)::text, 2, '0'),
       pg_temp.ident('site', 1 + n % 3), CASE WHEN n % 4 = 0 THEN 'Disponible le samedi, déjà venue à l’atelier' END,
       CASE WHEN n % 9 = 0 THEN 'REJECTED' WHEN last THEN 'PENDING' ELSE 'APPROVED' END::registrationstatus,
       CASE WHEN NOT last THEN pg_temp.ident('user', 1 + n % 3) END, CASE WHEN NOT last THEN at + interval '2 days' END, at
FROM generate_series(1, pg_temp.amount('requests')) AS n,
LATERAL (SELECT pg_temp.dice('request', n), pg_temp.opening(n, pg_temp.amount('requests')),
                n > pg_temp.amount('requests') - 2 OFFSET 0) AS rolled (d, at, last)
ORDER BY n;

INSERT INTO settings (id, key, value, created_at)
SELECT pg_temp.ident('setting', n), key, value, pg_temp.opening(1, 1)
FROM unnest(ARRAY['ticket.entête', 'tva.mention', 'session.timeout', 'activity.threshold'],
            ARRAY['Merci de votre visite ! Association loi 1901', 'TVA non applicable, art. 293 B du CGI', '480', '15'])
  WITH ORDINALITY AS setting (key, value, n);

INSERT INTO admin_settings (id, key, site_id, value_encrypted, created_at, updated_at)
SELECT pg_temp.ident('admin setting', n), key, pg_temp.ident('site', n),
       encode(decode(md5(key), 'hex') || decode(md5('valeur' || n), 'hex'), 'base64'), pg_temp.opening(1, 1), pg_temp.opening(1, 1)
FROM unnest(ARRAY['smtp.password', 'telegram.token', 'brevo.api_key']) WITH ORDINALITY AS setting (key, n);

INSERT INTO categories (id, name, is_active, parent_id, price, max_price, created_at, display_order, is_visible, shortcut_key)
SELECT pg_temp.ident('category', n), name, true, NULL, price, price * 20, pg_temp.opening(1, 1), n, true,
       CASE WHEN n < 8 THEN n::text END
FROM unnest(
  ARRAY['Mobilier', 'Électroménager', 'Textile', 'Vaisselle', 'Livres et disques', 'Jouets', 'Bricolage', 'Vélos'],
  ARRAY[1.50, 2.00, 4.00, 1.00, 2.50, 3.00, 2.20, 5.00]
) WITH ORDINALITY AS category (name, price, n)
ORDER BY n;

INSERT INTO categories (id, name, is_active, parent_id, price, created_at, display_order, is_visible)
SELECT pg_temp.ident('category', 8 + (parent - 1) * 4 + n), kind || ' — ' || lower(above.name), true, above.id,
       above.price + n * 0.25, pg_temp.opening(1, 1), n, n < 4
FROM generate_series(1, 8) AS parent
JOIN categories AS above ON above.id = pg_temp.ident('category', parent),
unnest(ARRAY['Petit', 'Grand', 'À réparer', 'Pièces détachées']) WITH ORDINALITY AS child (kind, n)
ORDER BY parent, n;

INSERT INTO preset_buttons (id, name, category_id, preset_price, button_type, sort_order, is_active, created_at)
SELECT pg_temp.ident('preset', n), name, pg_temp.ident('category', n), n * 0.5,
       CASE WHEN n % 3 = 0 THEN 'RECYCLING' ELSE 'DONATION' END::buttontype, n, true, pg_temp.opening(1, 1)
FROM unnest(ARRAY['Don libre 0,50 €', 'Don libre 1 €', 'Pour recyclage', 'Don libre 2 €', 'Déchetterie', 'Pièces'])
  WITH ORDINALITY AS button (name, n);

INSERT INTO cash_registers (id, name, location, site_id, is_active, created_at, updated_at)
SELECT pg_temp.ident('register', n), 'Caisse n° ' || n, CASE WHEN n = 1 THEN 'À l’entrée' END, pg_temp.ident('site', n),
       true, pg_temp.opening(1, 1), pg_temp.opening(1, 1)
FROM generate_series(1, 3) AS n ORDER BY n;

INSERT INTO sale_items (id, sale_id, category, quantity, weight, unit_price, total_price, notes, preset_id)
SELECT pg_temp.ident('item', sale * 8 + item), pg_temp.ident('sale', sale), category, quantity,
       (50 + pg_temp.roll(d, 6, 24000)) / 1000.0, unit_price, quantity * unit_price,
       CASE WHEN pg_temp.roll(d, 4, 3) > 0 THEN
         pg_temp.pick(ARRAY['Chaise paillée', 'Bibliothèque en chêne', 'Grille-pain', 'Théière émaillée', 'Manteau d’hiver',
                            'Lot de 33 tours', 'Puzzle incomplet', 'Perceuse à percussion', 'Vélo d’enfant',
                            'Cafetière italienne', 'Rideaux brodés', 'Lampe de chevet'], d, 2)
         || pg_temp.pick(ARRAY['', ', très bon état', ', à réviser', ', défaut léger'], d, 4) END,
       CASE WHEN pg_temp.roll(d, 12, 12) = 0 THEN pg_temp.ident('preset', 1 + pg_temp.roll(d, 12, 6)) END
FROM generate_series(1, pg_temp.amount('sales')) AS sale,
LATERAL generate_series(1, 1 + sale % 5) AS item,
LATERAL (SELECT pg_temp.dice('item', sale * 8 + item) OFFSET 0) AS dice (d),
LATERAL (SELECT pg_temp.pick(ARRAY['Mobilier', 'Électroménager', 'Textile', 'Vaisselle', 'Livres et disques', 'Jouets',
                                   'Bricolage', 'Vélos'], d, 0),
                1 + pg_temp.roll(d, 8, 3), (50 + pg_temp.roll(d, 10, 3950)) / 100.0
) AS sold (category, quantity, unit_price)
ORDER BY sale, item;

-- The sale's session is known from its number, and the session's figures from its sales.
INSERT INTO sales (id, cash_session_id, operator_id, total_amount, donation, payment_method, created_at)
SELECT pg_temp.ident('sale', n), pg_temp.ident('session', session),
       pg_temp.ident('user', 1 + pg_temp.roll(pg_temp.dice('open', session), 0, pg_temp.amount('users'))), items.total,
       CASE WHEN pg_temp.roll(d, 4, 5) = 0 THEN (1 + pg_temp.roll(d, 6, 10)) * 0.5 END,
       (ARRAY['cash', 'card', 'cash', 'check'])[1 + pg_temp.roll(d, 8, 4)],
       pg_temp.opening(session, pg_temp.amount('sessions')) + make_interval(secs => pg_temp.roll(d, 2, 30000))
FROM generate_series(1, pg_temp.amount('sales')) AS n
JOIN (SELECT sale_id, sum(total_price::numeric)::float8 AS total FROM sale_items GROUP BY sale_id) AS items
  ON items.sale_id = pg_temp.ident('sale', n),
LATERAL (SELECT pg_temp.dice('ticket', n), 1 + (n - 1)::bigint * pg_temp.amount('sessions') / pg_temp.amount('sales')
         OFFSET 0) AS rolled (d, session)
ORDER BY n;

INSERT INTO cash_sessions (id, operator_id, site_id, register_id, initial_amount, current_amount, status, opened_at,
                           closed_at, total_sales, total_items, closing_amount, actual_amount, variance,
                           variance_comment, current_step, last_activity, step_start_time)
SELECT pg_temp.ident('session', n), pg_temp.ident('user', 1 + pg_temp.roll(d, 0, pg_temp.amount('users'))),
       pg_temp.ident('site', 1 + n % 3), pg_temp.ident('register', 1 + n % 3), 50, 50 + taken.total,
       CASE WHEN last THEN 'OPEN' ELSE 'CLOSED' END::cashsessionstatus,
       opened_at, CASE WHEN NOT last THEN opened_at + interval '9 hours' END, taken.total, taken.many,
       CASE WHEN NOT last THEN 50 + taken.total END, CASE WHEN NOT last THEN 50 + taken.total - lacking END,
       CASE WHEN NOT last THEN -lacking END,
       CASE WHEN NOT last AND lacking > 0 THEN 'Écart constaté à la clôture : erreur de rendu de monnaie' END,
       CASE WHEN last THEN 'SALE' END::cashsessionstep, opened_at + interval '8 hours', opened_at
FROM generate_series(1, pg_temp.amount('sessions')) AS n
CROSS JOIN LATERAL (SELECT pg_temp.dice('open', n), pg_temp.opening(n, pg_temp.amount('sessions')),
                           n = pg_temp.amount('sessions') OFFSET 0) AS rolled (d, opened_at, last)
CROSS JOIN LATERAL (SELECT CASE WHEN pg_temp.roll(d, 4, 15) = 0 THEN 0.5 ELSE 0 END) AS till (lacking)
LEFT JOIN (
  SELECT cash_session_id, sum(total_amount::numeric + coalesce(donation, 0)::numeric)::float8, count(*)::integer
  FROM sales GROUP BY cash_session_id
) AS sold (session, total, many) ON sold.session = pg_temp.ident('session', n)
CROSS JOIN LATERAL (SELECT coalesce(sold.total, 0), coalesce(sold.many, 0)) AS taken (total, many)
ORDER BY n;

INSERT INTO poste_reception (id, opened_by_user_id, opened_at, closed_at, status)
SELECT pg_temp.ident('poste', n), pg_temp.ident('user', 1 + n * 7 % pg_temp.amount('users')), opened_at,
       CASE WHEN NOT last THEN opened_at + interval '8 hours' END, CASE WHEN last THEN 'opened' ELSE 'closed' END
FROM generate_series(1, pg_temp.amount('postes')) AS n,
LATERAL (SELECT pg_temp.opening(n, pg_temp.amount('postes')), n = pg_temp.amount('postes')) AS day (opened_at, last)
ORDER BY n;

INSERT INTO ticket_depot (id, poste_id, benevole_user_id, created_at, closed_at, status)
SELECT pg_temp.ident('depot', n), poste.id, pg_temp.ident('user', 1 + pg_temp.roll(d, 0, pg_temp.amount('users'))), at,
       CASE WHEN poste.closed_at IS NOT NULL THEN at + interval '6 minutes' END,
       CASE WHEN poste.closed_at IS NULL THEN 'opened' ELSE 'closed' END
FROM generate_series(1, pg_temp.amount('tickets')) AS n
JOIN poste_reception AS poste
  ON poste.id = pg_temp.ident('poste', 1 + (n - 1)::bigint * pg_temp.amount('postes') / pg_temp.amount('tickets')),
LATERAL (SELECT pg_temp.dice('arrival', n) OFFSET 0) AS dice (d),
LATERAL (SELECT poste.opened_at + make_interval(secs => pg_temp.roll(d, 2, 27000))) AS moment (at)
ORDER BY n;

INSERT INTO ligne_depot (id, ticket_id, category_id, poids_kg, destination, notes)
SELECT pg_temp.ident('ligne', ticket * 8 + line), pg_temp.ident('depot', ticket),
       pg_temp.ident('category', 9 + pg_temp.roll(d, 0, 32)), (20 + pg_temp.roll(d, 2, 42000)) / 1000.0,
       (ARRAY['MAGASIN', 'MAGASIN', 'RECYCLAGE', 'DECHETERIE']::destinationenum[])[1 + pg_temp.roll(d, 4, 4)],
       CASE WHEN pg_temp.roll(d, 6, 8) = 0
            THEN pg_temp.pick(ARRAY['Pesée deux fois', 'Fragile', 'Câble coupé', 'Reçu sous la pluie',
                                    'Débarras après succession', 'Apporté à vélo, bravo !'], d, 8) END
FROM generate_series(1, pg_temp.amount('tickets')) AS ticket,
LATERAL generate_series(1, 1 + ticket % 7) AS line,
LATERAL (SELECT pg_temp.dice('ligne', ticket * 8 + line) OFFSET 0) AS dice (d)
ORDER BY ticket, line;

INSERT INTO deposits (id, user_id, site_id, telegram_user_id, audio_file_path, status, category, weight, description,
                      transcription, eee_category, confidence_score, alternative_categories, ai_classification,
                      ai_confidence, created_at, updated_at)
SELECT pg_temp.ident('telegram', n), pg_temp.ident('user', 1 + pg_temp.roll(d, 0, pg_temp.amount('users'))),
       pg_temp.ident('site', 1 + n % 3), (100000000 + pg_temp.roll(d, 2, 60000) * 7)::text, '/audio/' || n || '.ogg',
       CASE WHEN n % 11 = 0 THEN 'PENDING_VALIDATION' ELSE 'COMPLETED' END::depositstatus, kind,
       (200 + pg_temp.roll(d, 4, 30000)) / 1000.0, said, 'Bonjour, je dépose ' || lower(said) || ', merci !', kind,
       (500 + pg_temp.roll(d, 6, 500)) / 1000.0, json_build_array(json_build_object('catégorie', 'OTHER', 'score', 0.1)),
       kind::text, (500 + pg_temp.roll(d, 8, 500)) / 1000.0, at, at + interval '1 minute'
FROM generate_series(1, pg_temp.amount('deposits')) AS n,
LATERAL (SELECT pg_temp.dice('telegram', n), pg_temp.opening(n, pg_temp.amount('deposits')) + interval '3 hours'
         OFFSET 0) AS rolled (d, at),
LATERAL (SELECT 1 + pg_temp.roll(d, 10, 6)) AS thing (i),
LATERAL (SELECT (ARRAY['SMALL_APPLIANCE', 'LARGE_APPLIANCE', 'IT_EQUIPMENT', 'LIGHTING', 'TOOLS', 'TOYS']::eeecategory[])[i],
                (ARRAY['Un grille-pain', 'Un lave-vaisselle', 'Un vieil écran', 'Deux lampes à réparer',
                       'Une perceuse à percussion', 'Un train électrique'])[i]) AS named (kind, said)
ORDER BY n;

INSERT INTO login_history (id, user_id, username, success, client_ip, error_type, created_at)
SELECT pg_temp.ident('login', n), CASE WHEN ok THEN pg_temp.ident('user', who) END, 'bénévole' || who, ok,
       '192.0.2.' || pg_temp.roll(d, 4, 254), CASE WHEN NOT ok THEN 'mot de passe erroné' END,
       pg_temp.opening(n, pg_temp.amount('logins')) + make_interval(secs => pg_temp.roll(d, 2, 30000))
FROM generate_series(1, pg_temp.amount('logins')) AS n,
LATERAL (SELECT pg_temp.dice('login', n) OFFSET 0) AS dice (d),
LATERAL (SELECT 1 + pg_temp.roll(d, 0, pg_temp.amount('users')), pg_temp.roll(d, 6, 14) > 0) AS tried (who, ok)
ORDER BY n;

INSERT INTO audit_logs (id, "timestamp", actor_id, actor_username, action_type, target_id, target_type, details_json,
                        description, ip_address, user_agent)
SELECT pg_temp.ident('log', n), pg_temp.opening(n, pg_temp.amount('logs')) + make_interval(secs => pg_temp.roll(d, 0, 32000)),
       pg_temp.ident('user', 1 + n % 3), 'admin' || (1 + n % 3), action,
       pg_temp.ident('user', 1 + pg_temp.roll(d, 2, pg_temp.amount('users'))), 'user',
       jsonb_build_object('avant', jsonb_build_object('actif', n % 2 = 0), 'après', jsonb_build_object('actif', n % 2 = 1)),
       'Compte ' || pg_temp.pick(ARRAY['créé', 'approuvé', 'désactivé', 'réactivé'], d, 6), '192.0.2.' || pg_temp.roll(d, 8, 254),
       'Mozilla/5.0 (X11; Linux x86_64)'
FROM generate_series(1, pg_temp.amount('logs')) AS n,
LATERAL (SELECT pg_temp.dice('log', n) OFFSET 0) AS dice (d),
LATERAL (SELECT pg_temp.pick(ARRAY['USER_CREATED', 'USER_APPROVED', 'ROLE_CHANGED', 'PASSWORD_RESET'], d, 4)) AS done (action)
ORDER BY n;

INSERT INTO email_logs (id, recipient_email, recipient_name, subject, body_text, status, email_type, external_id,
                        sent_at, delivered_at, created_at, user_id)
SELECT pg_temp.ident('email', n), account.email, account.first_name || ' ' || account.last_name,
       'Bienvenue à la ressourcerie !', 'Bonjour ' || account.first_name || ', votre compte est prêt. À bientôt !',
       CASE WHEN n % 20 = 0 THEN 'bounced' WHEN n % 3 = 0 THEN 'opened' ELSE 'delivered' END::emailstatus,
       CASE WHEN n % 4 = 0 THEN 'password_reset' ELSE 'welcome' END::emailtype, md5('externe' || n),
       account.created_at, account.created_at + interval '9 seconds', account.created_at, account.id
FROM generate_series(1, pg_temp.amount('users')) AS n
JOIN users AS account ON account.id = pg_temp.ident('user', n)
ORDER BY n;

INSERT INTO sync_logs (id, sync_type, status, message, records_count, file_path, created_at)
SELECT pg_temp.ident('sync', n), 'google_sheets', CASE WHEN n % 15 = 0 THEN 'error' ELSE 'success' END,
       CASE WHEN n % 15 = 0 THEN 'Quota dépassé, réessai à l’heure suivante' ELSE 'Synchronisation terminée' END, n * 3,
       '/exports/ventes-' || n || '.csv', pg_temp.opening(n, pg_temp.amount('shipments'))
FROM generate_series(1, pg_temp.amount('shipments')) AS n
ORDER BY n;

INSERT INTO association.shipments (partner, category_id, weight, price_per_kg, postal_code, shipped_on, contents)
SELECT (ARRAY['Écologic', 'Refashion', 'Écomaison', 'Valdelia'])[1 + n % 4], pg_temp.ident('category', 1 + n % 8),
       50 + pg_temp.roll(pg_temp.dice('shipment', n), 0, 900) + 0.125, 0.25 * (1 + n % 3),
       lpad((1000 + n * 97 % 94000)::text, 5, '0'), pg_temp.opening(n, pg_temp.amount('shipments'))::date,
       (ARRAY['écrans', 'câbles', 'moteurs'])[1:n % 4]
FROM generate_series(1, pg_temp.amount('shipments')) AS n
ORDER BY n;

INSERT INTO association.closures (during, reason)
SELECT daterange(today - 700 + n * 90, today - 700 + n * 90 + 5),
       (ARRAY['Congés d’été', 'Inventaire', 'Pont de l’Ascension', 'Fêtes de fin d’année'])[1 + n % 4]
FROM generate_series(0, 6) AS n, LATERAL (SELECT current_setting('demo.today')::date) AS day (today)
ORDER BY n;

INSERT INTO association.preferences (key, value, updated_at)
SELECT key, value::jsonb, pg_temp.opening(1, 1)
FROM unnest(
  ARRAY['ticket.entête', 'tva', 'seuils', 'exports', 'vide'],
  ARRAY['{"lignes": ["Merci de votre visite !", "Association loi 1901 — réemploi"]}',
        '{"taux": 0.0, "mention": "TVA non applicable, art. 293 B du CGI"}',
        '{"écart_de_caisse": 5.00, "poids_max_kg": 300}',
        '[{"nom": "éco-organismes", "fréquence": "trimestrielle"}]', 'null']
) AS setting (key, value);

INSERT INTO association."Prêts d'outils" (user_id, "prêté le", outil, "rendu le")
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
INSERT INTO association.receipts (sale_id, file_name, scan, sha256)
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

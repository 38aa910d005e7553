-- probe: every cash session was opened by a user, at a site
-- needs: public.cash_sessions(id, operator_id, site_id), public.users(id), public.sites(id)
-- expect: no rows
SELECT session.id FROM public.cash_sessions session
WHERE NOT EXISTS (SELECT FROM public.users account WHERE account.id = session.operator_id)
   OR NOT EXISTS (SELECT FROM public.sites site WHERE site.id = session.site_id) LIMIT 1;

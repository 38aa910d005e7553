-- probe: every sale belongs to a cash session
-- needs: public.sales, public.cash_sessions
-- expect: no rows
SELECT sale.id FROM public.sales sale
WHERE NOT EXISTS (SELECT FROM public.cash_sessions session WHERE session.id = sale.session_id) LIMIT 1;

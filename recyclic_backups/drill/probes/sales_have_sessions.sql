-- probe: every sale belongs to a cash session
-- needs: public.sales(id, cash_session_id), public.cash_sessions(id)
-- expect: no rows
SELECT sale.id FROM public.sales sale
WHERE NOT EXISTS (SELECT FROM public.cash_sessions session WHERE session.id = sale.cash_session_id) LIMIT 1;

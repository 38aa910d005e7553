-- probe: every payment belongs to a sale
-- needs: public.payments, public.sales
-- expect: no rows
SELECT payment.id FROM public.payments payment
WHERE NOT EXISTS (SELECT FROM public.sales sale WHERE sale.id = payment.sale_id) LIMIT 1;

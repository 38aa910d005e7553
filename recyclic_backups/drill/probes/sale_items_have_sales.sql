-- probe: every line of a sale belongs to a sale
-- needs: public.sale_items(id, sale_id), public.sales(id)
-- expect: no rows
SELECT item.id FROM public.sale_items item
WHERE NOT EXISTS (SELECT FROM public.sales sale WHERE sale.id = item.sale_id) LIMIT 1;

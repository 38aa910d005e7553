-- probe: every weighed line belongs to a deposit ticket
-- needs: public.ligne_depot(id, ticket_id), public.ticket_depot(id)
-- expect: no rows
SELECT line.id FROM public.ligne_depot line
WHERE NOT EXISTS (SELECT FROM public.ticket_depot ticket WHERE ticket.id = line.ticket_id) LIMIT 1;

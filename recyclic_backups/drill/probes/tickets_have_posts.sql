-- probe: every deposit ticket belongs to a reception post
-- needs: public.ticket_depot(id, poste_id), public.poste_reception(id)
-- expect: no rows
SELECT ticket.id FROM public.ticket_depot ticket
WHERE NOT EXISTS (SELECT FROM public.poste_reception post WHERE post.id = ticket.poste_id) LIMIT 1;

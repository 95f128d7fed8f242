# What is in a new pretix: an organizer, a team with a token and a user, and two events.
from datetime import datetime, timezone
from decimal import Decimal

from django.core.cache import cache
from django_scopes import scopes_disabled
from pretix.base.models import Event, Organizer, Team, TeamAPIToken, User

with scopes_disabled():
    organizer = Organizer.objects.create(name="River", slug="river")
    team = Team.objects.create(
        organizer=organizer, name="Box office", all_events=True,
        all_event_permissions=True, all_organizer_permissions=True,
    )
    team.members.add(User.objects.create_user("office@example.org", "onsale-office"))
    TeamAPIToken.objects.create(team=team, name="onsale", token="onsale0token0for0tests")
    for slug, name in [("festival", "River Festival"), ("concert", "Spring concert")]:
        event = Event.objects.create(
            organizer=organizer, name=name, slug=slug, currency="EUR", live=True,
            plugins="pretix.plugins.banktransfer,pretix.plugins.manualpayment",
            date_from=datetime(2099, 7, 1, 18, tzinfo=timezone.utc),
        )
        event.settings.timezone = "Europe/Madrid"
        # An event that is live can be changed only where a way to pay is switched on.
        event.settings.payment_manual__enabled = True
        admission = event.items.create(name="General admission", default_price=Decimal("25.00"), admission=True)
        reduced = event.items.create(name="Reduced", default_price=Decimal("12.50"), admission=True)
        camping = event.items.create(name="Camping", default_price=Decimal("40.00"))
        tent = camping.variations.create(value="Tent")
        van = camping.variations.create(value="Van", default_price=Decimal("65.00"))
        site = event.quotas.create(name="Site", size=20000)
        site.items.add(admission, reduced)
        field = event.quotas.create(name="Field", size=2000)
        field.items.add(camping)
        field.variations.add(tent, van)
# Whoever fills the database begins as those do who take it from the dump.
cache.clear()

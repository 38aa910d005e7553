
(function () {
  // A page that nobody writes any more would show green for ever: it takes that back itself.
  var banner = document.getElementById('stale'), told = banner.dataset, title = document.title;
  function look() {
    var hours = (Date.now() - Date.parse(told.measured)) / 3600000, old = hours > 2;
    var count = Math.floor(hours < 48 ? hours : hours / 24);
    var age = (hours < 48 ? told.hours : told.days).replace('COUNT', count);
    var text = old ? told.text.replace('AGE', age) : '';
    document.documentElement.classList.toggle('is-stale', old);
    document.title = old ? told.title : title;
    if (banner.textContent !== text) banner.textContent = text;
  }
  look(); setInterval(look, 60000);
})();

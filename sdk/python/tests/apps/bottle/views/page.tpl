<h1 class="a 'b'">{{title}}</h1>
% for item in items:
<li>{{item}}</li>
% end

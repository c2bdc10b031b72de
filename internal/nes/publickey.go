package nes

// publicKey is the key of the article's provider, [PublicProvider].
const publicKey = `-----BEGIN PUBLIC KEY-----
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAsgEpAF9efY+RqmYceQ16
xM5x30dRYZg/Mv/LyQjytm0UoJCWhPoo16SHMq4nj1xuiDY6DEyZhanCwxI5jZyj
qBERO6SM+ioFO3IikjJ0BHokciLrnW8pevUBnSJ9yNuSpDc55JwK4JGgCjlvLcGP
49cvk4JNXqcZb4cSPrg2seluI0fidAeb7JiBPTsHA7o2q4vKxNUzpccsD8uBo/gn
YFvEX1Mxol7tyYAJyCvQUG0OAc5d7b5HyTnX+eK07mNwDNInzHGXbwUI+IS25CPt
P/qJXRQ+aNE8/LaNPkihyE8lLSDKBdyFBGVmfIFmNM1YzccI7/Vi4hC24Jl+bAn5
Az1w7zileUyQsRgKxeKEOaTC8tVRSKUMQEqxn4ONrkLyhqKc9DauqAPUEKLlMWTs
Op6J+iBpBRKjvNJQXi0gnXef4Rq76hF0mXi6WAN6jjp2MQGJfJHoDzpiVJJignH6
cqc2KnMwyIFLsQyU2sS+YhiAIgbu/VYtZhO1Ae7dd0t/lHi/I2qxQ0YgVa1zA94d
59ajRGGDsiaP2LuRsFgBrcrlgLwfwY2J//0kr5paMBQaivc82+7OwwGSLlp/OAK/
OGS6Al6SU2cxh/BtWSxqew5kcOPxPAqjgDlPu5Pz7e6k9MRvVX1xqhzLmDvOyP+i
vB/hMCXrR6Mx1hi9ljvOuS8CAwEAAQ==
-----END PUBLIC KEY-----`
